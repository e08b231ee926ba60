// A lock between processes, on a machine or a shared directory.
#pragma once

#include <string>

namespace crisp {

/// A lock by flock on a file of its own, which is removed with the lock. It ends with the object, or with the death of
/// the process and of those that have inherited it.
class LockFile {
 public:
  LockFile() = default;
  /// Whoever holds it already keeps it: then the lock is not held(). Throws Error when the file cannot be written.
  explicit LockFile(std::string path);
  /// Waits until the lock is free, half a minute at most, then throws Error.
  static LockFile wait_for(const std::string& path);
  ~LockFile() { release(); }
  LockFile(LockFile&& other) noexcept;
  LockFile& operator=(LockFile&& other) noexcept;

  bool held() const { return fd_ >= 0; }
  void release();
  /// Close-on-exec; a child that is to keep the lock clears that.
  int descriptor() const { return fd_; }

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace crisp
