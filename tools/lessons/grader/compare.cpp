#include "tools/lessons/grader/compare.h"

#include <algorithm>
#include <cmath>

#include "engine/fail.h"

namespace crisp::lessons {

Comparison compare(std::span<const double> got, std::span<const double> truth) {
  Comparison result;
  double scale = 0;
  for (const double x : truth) scale = std::max(scale, std::abs(x));
  for (size_t i = 0; i < truth.size(); ++i) {
    if (got[i] == truth[i]) continue;
    const double difference = std::abs(got[i] - truth[i]);
    const bool wrong = !(difference <= tolerance * scale);
    const bool first = result.exact;
    result.exact = false;
    result.wrong += wrong;
    // What is not a number is worse than any difference.
    if (first || difference > result.largest || (std::isnan(difference) && !std::isnan(result.largest))) {
      result.largest = difference;
      result.at = i;
      result.got = got[i];
      result.truth = truth[i];
    }
  }
  result.right = result.wrong == 0;
  return result;
}

std::string index_text(const Shape& shape, size_t at) {
  std::vector<size_t> index;
  for (int d = shape.rank() - 1; d >= 0; --d) {
    const auto n = static_cast<size_t>(shape[d]);
    index.insert(index.begin(), at % n);
    at /= n;
  }
  return fmt::format("[{}]", fmt::join(index, ", "));
}

}  // namespace crisp::lessons
