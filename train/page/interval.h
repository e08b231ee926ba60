// An interval as statistics find it and pages show it.
#pragma once

#include <limits>

namespace crisp {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

/// A 95 % interval; both NaN where there is none.
struct Interval95 {
  double low = unknown, high = unknown;
};

}  // namespace crisp
