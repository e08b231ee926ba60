// A process that may do what it likes for a while: it ends at a limit of time or memory, and all that it prints is kept
// up to a limit. No sandbox: it may read and write what its user may.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace crisp::lessons {

struct Limits {
  int64_t cpu_seconds = 60;
  int64_t wall_seconds = 120;
  uint64_t memory = uint64_t{4} << 30;     // bytes of address space
  uint64_t file_size = uint64_t{1} << 28;  // of each file that it writes
  bool may_fork = true;                    // root always may
  size_t output = 32'000;                  // bytes that are kept
};

struct Ended {
  int exit_code = -1;     // where it ended by itself
  int signal = 0;         // else
  bool too_long = false;  // it was ended at a limit of time
  std::string output;     // standard output and standard error together
};

/// Runs command[0], a path, in `directory`, with `environment` ("NAME=value") alone and an empty standard input, in a
/// process group of its own, of which nothing is left afterwards. Throws Error when it cannot be started, Interrupted
/// when a signal has asked for the end (train/durable/interrupt.h).
Ended run_limited(const std::vector<std::string>& command, const std::string& directory,
                  const std::vector<std::string>& environment, const Limits& limits);

/// A directory of its own among the temporary files, removed with all that is in it.
class TemporaryDirectory {
 public:
  /// Throws Error.
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace crisp::lessons
