#include "train/durable/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "engine/fail.h"
#include "train/durable/interrupt.h"
#include "train/durable/lock_holders.h"
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
  const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | more_flags;
  const int fd = file_calls::uninterrupted([&] { return file_calls::open(path.c_str(), flags, 0666); });
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
  const bool locked = file_calls::uninterrupted([&] { return file_calls::flock(fd, LOCK_EX | LOCK_NB); }) == 0;
  if (locked || !cannot(errno)) return locked ? 0 : errno;
  return file_calls::lock_range(fd) == 0 ? 0 : errno;
}

}  // namespace

LockFile::Held::~Held() {
  if (is_open_at(fd, path)) (void)file_calls::unlink(path.c_str());  // else somebody took it for a dead one's
  (void)file_calls::close(fd);
}

LockFile::LockFile(const std::string& path) {
  if (!lock_by_system(path)) lock_by_presence(path);
}

// False where the file system knows no way.
bool LockFile::lock_by_system(const std::string& path) {
  for (;;) {
    const int fd = open_lock(path, 0), error = lock_descriptor(fd);
    // Between our open and lock the former owner may have removed the file; then nobody else sees our lock.
    if (error == 0 && is_open_at(fd, path)) {
      held_.reset(new Held{path, fd, false});
      return true;
    }
    (void)file_calls::close(fd);
    if (cannot(error)) return false;
    if (error == EWOULDBLOCK || error == EACCES) return true;
    if (error != 0) fail("{}: cannot be locked: {}", parent_directory(path), std::strerror(error));
  }
}

// Holders are written to "LOCK.held" and not to the file itself, which trying the other ways has made. Only one process
// at a time looks whether a lock is stale and takes it over: the one that made "LOCK.takeover".
void LockFile::lock_by_presence(const std::string& lock) {
  remove_file(lock);
  const std::string path = lock + held_suffix, takeover = path + ".takeover";
  for (int left = 20; left > 0; --left) {
    if (const int fd = open_lock(path, O_EXCL); fd >= 0) {
      held_.reset(new Held{path, fd, true});
      add_lock_holder(fd, path, ::getpid());
      if (is_open_at(fd, path)) return;
      held_.reset();  // it was so slow that another process took the lock for one that was left
      continue;
    }
    holder_ = living_lock_holder(path);
    if (!holder_.empty()) return;
    const int taking = open_lock(takeover, O_EXCL);
    if (taking < 0) {
      // Whoever is taking over needs no time worth mentioning, unless it was killed at it.
      std::this_thread::sleep_for(look_again);
      if (left == 1 || left == 10) remove_file(takeover);
      continue;
    }
    (void)file_calls::close(taking);
    if (living_lock_holder(path).empty()) remove_file(path);
    remove_file(takeover);
  }
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

void LockFile::share_with(pid_t child) {
  if (held() && held_->by_presence) add_lock_holder(held_->fd, held_->path, child);
}

}  // namespace crisp
