// Which numbers a setting takes, for options, files and the messages of both.
#pragma once

#include <cmath>
#include <limits>
#include <string>

namespace crisp {

/// The finite numbers from `low` to `high`; an open end is not among them.
struct Interval {
  double low = 0;
  double high = std::numeric_limits<double>::infinity();
  bool open_low = false;
  bool open_high = false;

  bool contains(double x) const {
    return std::isfinite(x) && (open_low ? x > low : x >= low) && (open_high ? x < high : x <= high);
  }
  /// "a number from 0 to 1 (exclusive)"
  std::string str() const;
};

}  // namespace crisp
