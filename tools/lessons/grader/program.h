// A student's file as a program: compiled beside the grader's own main(), and run with the numbers of a case.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tools/lessons/grader/course.h"
#include "tools/lessons/grader/process.h"

namespace crisp::lessons {

/// Warnings help a student; the rest makes results the same on all machines of one instruction set: no contraction to
/// fused multiply-adds, no reordering, and what has no value holds the same nonsense everywhere.
inline constexpr const char* compiler_flags[] = {
    "-std=c++20", "-O1",     "-ffp-contract=off",    "-ftrivial-auto-var-init=pattern", "-D_GLIBCXX_ASSERTIONS",
    "-Wall",      "-Wextra", "-Wno-unused-parameter"};

class Compiler {
 public:
  /// CXX, which may have arguments, else c++, g++ or clang++ in PATH. Throws Error where there is none.
  Compiler();
  /// As it was found, and the flags: for people.
  std::string str() const;

  /// `more`: files and options, as seen from `directory`. The compiler's messages are in `output`.
  Ended run(const std::string& directory, const std::vector<std::string>& more) const;

 private:
  std::vector<std::string> command_;  // its path and arguments
};

/// What a run has left.
struct Run {
  std::string problem;        // one sentence, "" where both functions have done what they may
  bool complete_file = true;  // both functions are there
  bool forward_done = false, backward_done = false;
  std::map<std::string, Values> written;  // outputs and gradients
  std::string printed;                    // by the student's code
};

/// Makes programs. One directory serves all exercises.
class Bench {
 public:
  /// Compiles what all programs share. Throws Error where that is impossible. `seconds`: of the CPU, for a program.
  explicit Bench(int64_t seconds);

  /// The program of `exercise` from a student's text. What it returns is the compiler's output, and `ok` whether there
  /// is a program now.
  struct Compiled {
    bool ok;
    std::string output;
  };
  Compiled compile(const Exercise& exercise, const std::string& text) const;
  /// After compile(). `forward_only`: the backward function is not called.
  Run run(const Exercise& exercise, const Case& c, bool forward_only = false) const;

  const Compiler& compiler() const { return compiler_; }

 private:
  int64_t seconds_;
  Compiler compiler_;
  TemporaryDirectory directory_;
};

}  // namespace crisp::lessons
