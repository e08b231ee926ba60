#include "data/input/interval.h"

#include <fmt/format.h>

namespace crisp {

std::string Interval::str() const {
  if (std::isinf(low) && std::isinf(high)) return "a finite number";
  if (std::isinf(high)) return fmt::format("a number {} {}", open_low ? "above" : "at least", low);
  return fmt::format("a number from {}{} to {}{}", low, open_low ? " (exclusive)" : "", high,
                     open_high ? " (exclusive)" : "");
}

}  // namespace crisp
