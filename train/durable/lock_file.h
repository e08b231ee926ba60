// A lock between processes, on a machine or a shared directory.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

namespace crisp {

/// A lock by a file of its own, which is removed with the lock. It ends with the object, or with the death of the
/// process and of those that share it. It is made by what the file system can, in this order: flock; a lock of the open
/// file by fcntl; else by the file's being there, with the processes that hold it written in it. The last outlives
/// them, so whoever finds it looks whether they live; of processes on another host that cannot be seen, and refusing
/// says so.
class LockFile {
 public:
  LockFile() = default;
  /// Whoever holds it already keeps it: then the lock is not held(). Throws Error when the file cannot be written.
  explicit LockFile(const std::string& path);
  /// Waits until the lock is free. After some seconds say(text) is called, once. Throws Error when a signal arrives
  /// while an InterruptHandler lives (without one the signal ends the process).
  static LockFile wait_for(const std::string& path, const std::function<void(const std::string&)>& say);
  /// Removes what a killed process has left of a lock; one that is held stays, and so does what cannot be removed.
  static void tidy(const std::string& path);

  bool held() const { return held_ != nullptr; }
  void release() { held_.reset(); }
  /// Who holds it, where that is known and not us: "process 12 on host a; if it no longer runs, delete FILE"; else "".
  const std::string& holder() const { return holder_; }

  /// Close-on-exec; a child that is to keep the lock clears that, and its parent calls share_with().
  int descriptor() const { return held_ ? held_->fd : -1; }
  void share_with(pid_t child);

 private:
  struct Held {
    std::string path;
    int fd;
    bool by_presence;
    ~Held();
  };
  bool lock_by_system(const std::string& path);
  void lock_by_presence(const std::string& lock);

  std::unique_ptr<Held> held_;
  std::string holder_;
};

}  // namespace crisp
