#include "weights/file_calls.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>

#include "engine/system.h"

namespace crisp::file_calls {
namespace {

std::atomic<Observer*> observer{nullptr};

// `make` is the system call.
template <class F>
auto observed(const Call& call, F&& make) -> decltype(make()) {
  Observer* const watching = observer.load(std::memory_order_acquire);
  if (watching == nullptr) return make();
  if (const int error = watching->before(call); error != 0) {
    errno = error;
    return -1;
  }
  const auto result = make();
  const int error = errno;
  watching->after(call, result);
  errno = error;
  return result;
}

}  // namespace

const char* name_of(Kind kind) {
  constexpr std::array<const char*, 15> names{"open",   "write",  "fsync",    "close",      "ftruncate",
                                              "fchmod", "rename", "exchange", "link",       "unlink",
                                              "mkdir",  "rmdir",  "flock",    "lock_range", "statvfs"};
  return names[static_cast<size_t>(kind)];
}

void observe(Observer* watching) { observer.store(watching, std::memory_order_release); }

int open(const char* path, int flags, mode_t mode) {
  return observed({.kind = Kind::open, .path = path, .flags = flags}, [&] { return ::open(path, flags, mode); });
}

ssize_t write(int fd, const void* data, size_t bytes) {
  return observed({.kind = Kind::write, .fd = fd, .bytes = {static_cast<const char*>(data), bytes}},
                  [&] { return ::write(fd, data, bytes); });
}

int fsync(int fd) {
  return observed({.kind = Kind::fsync, .fd = fd}, [&] { return ::fsync(fd); });
}

// A descriptor is gone whatever close() says, so a failure that is made up closes it, too.
int close(int fd) {
  bool closed = false;
  const int result = observed({.kind = Kind::close, .fd = fd}, [&] {
    closed = true;
    return ::close(fd);
  });
  if (!closed) {
    const int error = errno;
    ::close(fd);
    errno = error;
  }
  return result;
}

int ftruncate(int fd, uint64_t size) {
  return observed({.kind = Kind::ftruncate, .fd = fd, .size = size},
                  [&] { return ::ftruncate(fd, static_cast<off_t>(size)); });
}

int fchmod(int fd, mode_t mode) {
  return observed({.kind = Kind::fchmod, .fd = fd}, [&] { return ::fchmod(fd, mode); });
}

int rename(const char* from, const char* to) {
  return observed({.kind = Kind::rename, .path = from, .to = to}, [&] { return std::rename(from, to); });
}

int exchange(const char* a, const char* b) {
  return observed({.kind = Kind::exchange, .path = a, .to = b}, [&] { return os::exchange(a, b); });
}

int link(const char* from, const char* to) {
  return observed({.kind = Kind::link, .path = from, .to = to}, [&] { return ::link(from, to); });
}

int unlink(const char* path) {
  return observed({.kind = Kind::unlink, .path = path}, [&] { return ::unlink(path); });
}

int mkdir(const char* path, mode_t mode) {
  return observed({.kind = Kind::mkdir, .path = path}, [&] { return ::mkdir(path, mode); });
}

int rmdir(const char* path) {
  return observed({.kind = Kind::rmdir, .path = path}, [&] { return ::rmdir(path); });
}

int flock(int fd, int operation) {
  return observed({.kind = Kind::flock, .fd = fd}, [&] { return ::flock(fd, operation); });
}

int lock_range(int fd) {
  return observed({.kind = Kind::lock_range, .fd = fd}, [&] { return os::lock_open_file(fd); });
}

int statvfs(const char* path, struct ::statvfs* status) {
  return observed({.kind = Kind::statvfs, .path = path}, [&] { return ::statvfs(path, status); });
}

}  // namespace crisp::file_calls
