#include "train/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "engine/error.h"
#include "weights/atomic_file.h"

namespace crisp {

LockFile::LockFile(std::string path) : path_(std::move(path)) {
  for (;;) {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd_ < 0) fail("{}: cannot be written: {}", parent_directory(path_), std::strerror(errno));
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      ::close(std::exchange(fd_, -1));
      if (error == EINTR) continue;
      if (error == EWOULDBLOCK) return;
      fail("{}: cannot be locked: {}", parent_directory(path_), std::strerror(error));
    }
    // Between our open and flock the former owner may have removed the file; then nobody else sees our lock.
    struct stat ours {
    }, named{};
    if (::fstat(fd_, &ours) == 0 && ::stat(path_.c_str(), &named) == 0 && ours.st_ino == named.st_ino) return;
    ::close(std::exchange(fd_, -1));
  }
}

LockFile LockFile::wait_for(const std::string& path) {
  for (int i = 0; i < 600; ++i) {
    LockFile lock(path);
    if (lock.held()) return lock;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  fail("{}: locked by another process", path);
}

LockFile::LockFile(LockFile&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

LockFile& LockFile::operator=(LockFile&& other) noexcept {
  release();
  path_ = std::move(other.path_);
  fd_ = std::exchange(other.fd_, -1);
  return *this;
}

void LockFile::release() {
  if (!held()) return;
  ::unlink(path_.c_str());
  ::close(std::exchange(fd_, -1));
}

}  // namespace crisp
