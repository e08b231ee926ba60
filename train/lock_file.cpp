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

#include "engine/fail.h"
#include "train/interrupt.h"
#include "train/lock_holders.h"
#include "weights/file_calls.h"
#include "weights/file_changes.h"

namespace crisp {
namespace {

constexpr const char* held_suffix = ".held";
constexpr auto look_again = std::chrono::milliseconds(50);
constexpr auto patience = std::chrono::seconds(3);  // before something is said

// The file system does not know this kind of lock.
bool cannot(int error) {
  return error == ENOSYS || error == ENOLCK || error == EOPNOTSUPP || error == ENOTSUP || error == EINVAL;
}

int open_lock(const std::string& path, int more_flags) {
  int fd;
  do {
    fd = file_calls::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | more_flags, 0666);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0 && (errno != EEXIST || (more_flags & O_EXCL) == 0))
    fail("{}: cannot be written: {}", parent_directory(path), std::strerror(errno));
  return fd;
}

// Whether the name still leads to what was opened.
bool is_open_at(int fd, const std::string& path) {
  struct stat ours {
  }, named{};
  return ::fstat(fd, &ours) == 0 && ::stat(path.c_str(), &named) == 0 && ours.st_ino == named.st_ino &&
         ours.st_dev == named.st_dev;
}

// 0, or the errno of the first of both ways that the file system knows.
int lock_descriptor(int fd) {
  int error;
  do {
    error = file_calls::flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
  } while (error == EINTR);
  if (!cannot(error)) return error;
  return file_calls::lock_range(fd) == 0 ? 0 : errno;
}

}  // namespace

LockFile::LockFile(std::string path) : path_(std::move(path)) {
  bool supported = true;
  if (lock_by_system(supported) || supported) return;
  lock_by_presence();
}

bool LockFile::lock_by_system(bool& supported) {
  for (;;) {
    fd_ = open_lock(path_, 0);
    if (const int error = lock_descriptor(fd_); error != 0) {
      (void)file_calls::close(std::exchange(fd_, -1));
      supported = !cannot(error);
      if (!supported || error == EWOULDBLOCK || error == EACCES) return false;
      fail("{}: cannot be locked: {}", parent_directory(path_), std::strerror(error));
    }
    // Between our open and lock the former owner may have removed the file; then nobody else sees our lock.
    if (is_open_at(fd_, path_)) return true;
    (void)file_calls::close(std::exchange(fd_, -1));
  }
}

// Holders are written to "LOCK.held" and not to the file itself, which trying the other ways has made. Only one process
// at a time looks whether a lock is stale and takes it over: the one that made "LOCK.takeover".
bool LockFile::lock_by_presence() {
  remove_file(path_);
  path_ += held_suffix;
  way_ = Way::by_presence;
  const std::string takeover = path_ + ".takeover";
  for (int left = 20; left > 0; --left) {
    fd_ = open_lock(path_, O_EXCL);
    if (fd_ >= 0) {
      if (write_down_holder()) return true;
      continue;  // it was so slow that another process took the lock for one that was left
    }
    holder_ = living_lock_holder(path_);
    if (!holder_.empty()) return false;
    const int taking = open_lock(takeover, O_EXCL);
    if (taking < 0) {
      // Whoever is taking over needs no time worth mentioning, unless it was killed at it.
      std::this_thread::sleep_for(look_again);
      if (left == 1 || left == 10) remove_file(takeover);
      continue;
    }
    (void)file_calls::close(taking);
    if (living_lock_holder(path_).empty()) remove_file(path_);
    remove_file(takeover);
  }
  return false;
}

// In the file that has just been made; false when the name is another's by now.
bool LockFile::write_down_holder() {
  try {
    add_lock_holder(fd_, path_, ::getpid());
  } catch (...) {
    release();
    throw;
  }
  if (is_open_at(fd_, path_)) return true;
  (void)file_calls::close(std::exchange(fd_, -1));
  return false;
}

LockFile LockFile::wait_for(const std::string& path, const std::function<void(const std::string&)>& say) {
  const auto begin = std::chrono::steady_clock::now();
  for (bool said = false;;) {
    LockFile lock(path);
    if (lock.held()) return lock;
    if (interrupted() != 0) fail("{}: interrupted while waiting for another process that has locked it", path);
    if (!said && std::chrono::steady_clock::now() - begin > patience) {
      say(fmt::format("waiting for another process that has locked {}{}{}", path, lock.holder().empty() ? "" : ": ",
                      lock.holder()));
      said = true;
    }
    std::this_thread::sleep_for(look_again);
  }
}

void LockFile::tidy(const std::string& path) {
  if (!entry_exists(path) && !entry_exists(path + held_suffix)) return;
  try {
    LockFile{path};
  } catch (const Error&) {
  }
}

LockFile::LockFile(LockFile&& other) noexcept
    : path_(std::move(other.path_)),
      holder_(std::move(other.holder_)),
      fd_(std::exchange(other.fd_, -1)),
      way_(other.way_) {}

LockFile& LockFile::operator=(LockFile&& other) noexcept {
  release();
  path_ = std::move(other.path_);
  holder_ = std::move(other.holder_);
  fd_ = std::exchange(other.fd_, -1);
  way_ = other.way_;
  return *this;
}

void LockFile::release() {
  if (!held()) return;
  if (is_open_at(fd_, path_)) (void)file_calls::unlink(path_.c_str());  // else somebody took it for a dead one's
  (void)file_calls::close(std::exchange(fd_, -1));
}

void LockFile::share_with(pid_t child) {
  if (held() && way_ == Way::by_presence) add_lock_holder(fd_, path_, child);
}

}  // namespace crisp
