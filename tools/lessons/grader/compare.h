// A student's tensor beside the truth, and which of the typical mistakes it looks like.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "tools/lessons/grader/course.h"

namespace crisp::lessons {

/// Of the largest magnitude in the tensor: what sums in another order differ by is 1e-16 of it, what a mistake changes
/// is more than this.
inline constexpr double tolerance = 1e-9;

struct Comparison {
  bool exact = true;          // bit for bit (a zero's sign apart)
  bool right = true;          // to the tolerance
  double largest = 0;         // difference; NaN where something is not a number
  size_t at = 0;              // where: the flat index
  double got = 0, truth = 0;  // there
  size_t wrong = 0;           // elements
};
Comparison compare(std::span<const double> got, std::span<const double> truth);

/// "[1, 2]", of a flat index.
std::string index_text(const Shape& shape, size_t at);

struct Finding {
  std::string id;    // a word for programs: "missing-mean", "transposed", "not-accumulated"
  std::string text;  // for the student
};

/// What a tensor that is wrong looks like: `got` holds it for each case of the exercise. The simplest explanation that
/// fits all cases whose numbers are finite comes first; nothing for one that is right.
std::vector<Finding> diagnose(const Exercise& exercise, const std::string& tensor, std::span<const Values> got);

}  // namespace crisp::lessons
