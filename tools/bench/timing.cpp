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

std::optional<std::pair<double, double>> median_interval(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto n = static_cast<double>(values.size());
  // The median lies below the (k+1)-th value with the probability that at most k of n fair coins show heads.
  double below = std::exp2(-n), term = below;
  if (values.empty() || below > 0.025) return std::nullopt;
  size_t k = 0;
  while (true) {
    term *= (n - static_cast<double>(k)) / static_cast<double>(k + 1);
    if (below + term > 0.025) break;
    below += term;
    ++k;
  }
  return std::pair{values[k], values[values.size() - 1 - k]};
}

double seconds_of(const std::function<void()>& f, Wait wait, int64_t repeats) {
  if (wait) wait();
  const double begin = now();
  for (int64_t r = 0; r < repeats; ++r) f();
  if (wait) wait();
  return (now() - begin) / static_cast<double>(repeats);
}

int64_t repeats_of(const std::function<void()>& f, Wait wait) {
  f();
  const double once = std::max(seconds_of(f, wait), 1e-9);
  return static_cast<int64_t>(std::clamp(std::ceil(2e-3 / once), 1.0, 1e6));
}

Spread measure(const std::function<void()>& f, const Effort& effort, Wait wait) {
  const int64_t repeats = repeats_of(f, wait);
  const double end = now() + effort.seconds;
  std::vector<double> samples;
  while (std::ssize(samples) < 3 || (std::ssize(samples) < effort.samples && now() < end))
    samples.push_back(seconds_of(f, wait, repeats));
  return spread_of(std::move(samples));
}

Spread collect(const std::function<double()>& sample, const Effort& effort) {
  return collect_in_turn({sample}, effort).front();
}

std::vector<Spread> collect_in_turn(const std::vector<std::function<double()>>& samples, const Effort& effort) {
  for (const auto& sample : samples) sample();
  const double all = effort.seconds * static_cast<double>(samples.size());
  const double begin = now(), enough = begin + std::min(0.1, all), end = begin + all;
  std::vector<std::vector<double>> values(samples.size());
  for (int64_t round = 0; round < 3 || now() < enough || (round < effort.samples && now() < end); ++round)
    for (size_t i = 0; i < samples.size(); ++i) values[i].push_back(samples[i]());
  std::vector<Spread> spreads;
  for (auto& v : values) spreads.push_back(spread_of(std::move(v)));
  return spreads;
}

}  // namespace crisp::bench
