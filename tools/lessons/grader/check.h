// One exercise, checked: a student's file compiled, run on every case, and compared tensor by tensor.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/lessons/grader/compare.h"
#include "tools/lessons/grader/program.h"

namespace crisp::lessons {

/// One tensor of an exercise, over all cases.
struct TensorVerdict {
  std::string name;
  bool given = false;   // the stub has it right
  bool judged = false;  // else the program did not get so far
  Comparison worst;     // of the case that differs most; its `wrong` counts elements of that case
  size_t worst_case = 0;
  std::vector<Finding> findings;
  /// What the element `worst.at` of a wrong gradient should hold by central differences of the student's own forward
  /// function.
  std::optional<double> by_differences;

  bool passed() const { return judged && worst.right; }
};

struct ExerciseVerdict {
  enum class State { passed, wrong, not_begun, missing, does_not_compile };
  const Exercise* exercise;
  std::string path;
  State state = State::missing;
  std::string problem;          // one sentence, or ""
  std::string compiler_output;  // messages, or ""
  std::string printed;          // by the student's code, or ""
  std::vector<TensorVerdict> tensors;

  bool passed() const { return state == State::passed; }
  /// "passed", "not begun", "wrong: dx, dbias", ...
  std::string state_text() const;
};

/// The most that a student's file may have.
inline constexpr uint64_t largest_source = uint64_t{1} << 20;

/// Checks DIRECTORY/NAME.cpp. A file that is not there, or cannot be read, is a verdict, too.
ExerciseVerdict check_exercise(const Bench& bench, const Exercise& exercise, const std::string& directory);

}  // namespace crisp::lessons
