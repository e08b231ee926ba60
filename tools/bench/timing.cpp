#include "tools/bench/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace crisp::bench {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

namespace {

const double start = now();

double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

double since_start() { return now() - start; }

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {quantile(values, 0.5), quantile(values, 0.25), quantile(values, 0.75), static_cast<int64_t>(values.size())};
}

Spread measure(const std::function<void()>& f, const Effort& effort, double shortest) {
  f();
  const double begin = now();
  f();
  const double once = std::max(now() - begin, 1e-9);
  const auto repeats = static_cast<int64_t>(std::clamp(std::ceil(shortest / once), 1.0, 1e6));
  const double end = now() + effort.seconds;
  std::vector<double> samples;
  for (int64_t i = 0; i < effort.samples || i < 3; ++i) {
    if (i >= 3 && now() > end) break;
    const double t = now();
    for (int64_t r = 0; r < repeats; ++r) f();
    samples.push_back((now() - t) / static_cast<double>(repeats));
  }
  return spread_of(std::move(samples));
}

}  // namespace crisp::bench
