// Verdicts for people, and for the programs that collect them.
#pragma once

#include <string>
#include <vector>

#include "tools/lessons/grader/check.h"

namespace crisp::lessons {

/// One line: "exact", "right to rounding (largest difference 3e-16)", or what is wrong, where.
std::string describe(const TensorVerdict& tensor, const Exercise& exercise);
/// The same with what it looks like: several lines.
std::string explain(const TensorVerdict& tensor, const Exercise& exercise);
/// All of an exercise. What comes from a compiler or a student's code is shown as printable_lines() has it.
std::string explain(const ExerciseVerdict& verdict);

/// JUnit's XML: a suite for each exercise, a case for each tensor; a failure's type is the first finding's id.
std::string junit_xml(const std::vector<ExerciseVerdict>& verdicts);
/// Gradescope's results.json: a test for each tensor, one point each, but none for what the stub has right already.
std::string gradescope_json(const std::vector<ExerciseVerdict>& verdicts);

}  // namespace crisp::lessons
