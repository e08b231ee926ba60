// Repeated measurements and what is reported of them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
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

/// An interval that holds the median of the distribution with at least 95 %, whatever the distribution, from the order
/// of independent values (the sign test inverted). None for fewer than 6 values.
std::optional<std::pair<double, double>> median_interval(std::vector<double> values);

/// How long a measurement goes on: until it has `samples` samples, but at least 3 and no longer than `seconds`.
struct Effort {
  int64_t samples = 15;
  double seconds = 2;
};

/// Backend::wait, since kernels may return before they have run; null: there is nothing to wait for.
using Wait = void (*)();

/// Seconds of one call of `f`, from `repeats` calls between two waits.
double seconds_of(const std::function<void()>& f, Wait wait, int64_t repeats = 1);
/// How many calls take 2 ms, at least 1. Calls `f` twice.
int64_t repeats_of(const std::function<void()>& f, Wait wait);

/// Seconds that `f` takes, after one call that does not count. A call that takes less than 2 ms is repeated within each
/// sample until it does, and the sample divided.
Spread measure(const std::function<void()>& f, const Effort& effort = {}, Wait wait = nullptr);

/// Seconds of something that takes its own time: `sample` returns seconds. Goes on until there are enough samples and
/// a tenth of a second has passed, at least 3 samples, no longer than `seconds`. One call before does not count.
Spread collect(const std::function<double()>& sample, const Effort& effort = {});

/// The same for several things in turn, so that they meet the same conditions.
std::vector<Spread> collect_in_turn(const std::vector<std::function<double()>>& samples, const Effort& effort = {});

}  // namespace crisp::bench
