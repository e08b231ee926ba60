#include "weights/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "engine/error.h"

namespace crisp {
namespace {

std::string temporary_name(const std::string& path) {
  static std::atomic<unsigned> counter{0};
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  // Clipped, so that a long name does not grow past the file system's limit.
  return fmt::format("{}.{}.tmp-{}-{}", directory, name.substr(0, 100), ::getpid(), counter++);
}

}  // namespace

std::string parent_directory(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  struct stat status {};
  const bool exists = ::stat(path_.c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode)) {
    fail("{}: cannot be written: it exists and is not a regular file", path_);
  }
  do {
    temporary_ = temporary_name(path_);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd_ < 0 && (errno == EEXIST || errno == EINTR));
  if (fd_ < 0) {
    const int error = errno;
    temporary_.clear();
    fail_with(error, "cannot be created");
  }
  // The new file takes over the permissions of the one it replaces. Where that is not allowed, the umask's do.
  if (exists) (void)!::fchmod(fd_, status.st_mode & 07777);
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::fail_with(int error, const char* doing) const {
  fail("{}: {}: {}; a previous file there is unchanged", path_, doing, std::strerror(error));
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (fd_ < 0) fail("{}: write after commit", path_);
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_with(errno, "cannot be written");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  if (fd_ < 0) fail("{}: committed twice", path_);
  while (::fsync(fd_) != 0) {
    if (errno != EINTR) fail_with(errno, "cannot be flushed to the disk");
  }
  // On network file systems the last chance to hear of a failed write.
  if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) fail_with(errno, "cannot be closed");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail_with(errno, "cannot be put in place");
  temporary_.clear();
  sync_directory(parent_directory(path_));
}

void write_file_atomically(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

void sync_directory(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail("{}: cannot be opened to flush it: {}", directory, std::strerror(errno));
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // Some file systems have nothing to flush for a directory and say so.
  if (error != 0 && error != EINVAL && error != ENOTSUP) {
    fail("{}: cannot be flushed to the disk: {}", directory, std::strerror(error));
  }
}

bool entry_exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

}  // namespace crisp
