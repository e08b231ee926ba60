// The system calls by which files, directories and locks are changed. All of the project's durable writing goes through
// them, so that a test can make any of them fail, and see their order.
#pragma once

#include <sys/statvfs.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace crisp::file_calls {

enum class Kind : uint8_t {
  open,  // to write, to lock, or a directory or file to flush
  write,
  fsync,
  close,
  ftruncate,
  fchmod,
  rename,
  exchange,
  link,
  unlink,
  mkdir,
  rmdir,
  flock,
  lock_range,
  statvfs,
};
const char* name_of(Kind kind);

struct Call {
  Kind kind;
  std::string_view path = {};   // empty for a call on a descriptor
  std::string_view to = {};     // of rename, exchange and link
  int fd = -1;                  // of a call on a descriptor
  std::string_view bytes = {};  // of write
  int flags = 0;                // of open
  uint64_t size = 0;            // of ftruncate
};

/// What a test puts between the program and the system.
class Observer {
 public:
  virtual ~Observer() = default;
  /// 0: the call is made; else it is not, and fails with this errno.
  virtual int before(const Call& call) = 0;
  /// After a call that was made: its result (a descriptor, bytes written, 0), negative when it failed.
  virtual void after(const Call& call, int64_t result) = 0;
};
/// nullptr: none. Holds for all threads; not to be changed while another thread makes calls.
void observe(Observer* observer);

/// The result of call(), which is made again as long as a signal interrupts it.
template <class F>
auto uninterrupted(F&& call) {
  for (;;)
    if (const auto result = call(); result >= 0 || errno != EINTR) return result;
}

// Each is the call of that name: the result, and errno. Nothing is repeated for EINTR.
int open(const char* path, int flags, mode_t mode = 0);
ssize_t write(int fd, const void* data, size_t bytes);
int fsync(int fd);
int close(int fd);
int ftruncate(int fd, uint64_t size);
int fchmod(int fd, mode_t mode);
int rename(const char* from, const char* to);
/// The next two are exchange() and lock_open_file() of engine/system.h.
int exchange(const char* a, const char* b);
int lock_range(int fd);
int link(const char* from, const char* to);
int unlink(const char* path);
int mkdir(const char* path, mode_t mode);
int rmdir(const char* path);
int flock(int fd, int operation);
int statvfs(const char* path, struct ::statvfs* status);

}  // namespace crisp::file_calls
