// Repeated measurements and what is reported of them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace crisp::bench {

/// Seconds since some fixed moment.
double now();
/// Seconds since the program started (its static objects, to be exact).
double since_start();

/// Median and quartiles of a number of samples.
struct Spread {
  double median = 0, q1 = 0, q3 = 0;
  int64_t samples = 0;
};
/// Quartiles by linear interpolation. `values` must not be empty.
Spread spread_of(std::vector<double> values);

/// How long a measurement goes on: until it has `samples` samples, but at least 3 and no longer than `seconds`.
struct Effort {
  int64_t samples = 15;
  double seconds = 2;
};

/// Seconds that `f` takes, after one call that does not count. A call of less than `shortest` seconds is repeated
/// within each sample until it takes that long, and the sample divided.
Spread measure(const std::function<void()>& f, const Effort& effort = {}, double shortest = 2e-3);

}  // namespace crisp::bench
