// Another program, run as a user's shell would run it, with its output at hand.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace crisp::test {

/// What became of a program.
struct Outcome {
  int exit_code = -1;  // 128 + N when signal N killed it, as in a shell
  bool killed = false;
  std::string out, err;
};

struct ProcessOptions {
  std::string input = {};                     // its standard input
  std::string working_directory = {};         // "": ours
  std::vector<std::string> environment = {};  // "NAME=value", beside ours
  uint64_t largest_file = 0;                  // bytes that a file may grow to (RLIMIT_FSIZE); 0: any
  bool terminal = false;                      // standard error is a terminal of 100 columns
};

/// A running program. Nothing is read from it but by wait_for_error() and wait(), and its standard error
/// goes through a pipe of one page: a program that prints a line per step is never more than that ahead of the test, so
/// that no test depends on which of the two is faster.
class Process {
 public:
  explicit Process(const std::vector<std::string>& command, const ProcessOptions& options = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Reads until standard error contains `text` so many times; false when the program ended without that.
  bool wait_for_error(const std::string& text, int times = 1);
  /// Blocks until the program has been handed the signal.
  void signal(int number);
  /// Blocks until the program waits for somebody to read its standard error.
  void wait_until_stuck();
  /// Reads the rest.
  Outcome wait();

 private:
  bool read_some();

  pid_t pid_ = -1;
  int out_ = -1, err_ = -1;
  Outcome outcome_;
};

inline Outcome run(const std::vector<std::string>& command, const ProcessOptions& options = {}) {
  return Process(command, options).wait();
}

}  // namespace crisp::test
