// A program started by the runner.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace crisp {

/// Runs until it ends by itself; the destructor kills it otherwise. It has a process group of its own, so that a
/// terminal's Ctrl-C reaches it through the runner alone, and gets SIGTERM when the runner dies.
class Child {
 public:
  /// `command[0]` is the program's path; standard output and error are appended to `log`, standard input is empty.
  /// `kept_descriptor` (-1: none) stays open in the child. Throws Error.
  Child(const std::vector<std::string>& command, const std::string& log, int kept_descriptor);
  ~Child();
  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;

  /// How it ended: its exit code, or 128 + N when signal N killed it; nullopt while it runs.
  std::optional<int> ended();
  void signal(int number);
  pid_t id() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

}  // namespace crisp
