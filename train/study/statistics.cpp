#include "train/study/statistics.h"

#include <algorithm>
#include <array>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/chi_squared.hpp>
#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>

#include "engine/fail.h"
#include "engine/random.h"

namespace crisp {

namespace {

namespace bm = boost::math;
using bm::policies::ignore_error;
// What is not defined is NaN.
using Quiet = bm::policies::policy<bm::policies::domain_error<ignore_error>, bm::policies::overflow_error<ignore_error>,
                                   bm::policies::evaluation_error<ignore_error>>;
using StudentT = bm::students_t_distribution<double, Quiet>;
using NoncentralT = bm::non_central_t_distribution<double, Quiet>;
using ChiSquared = bm::chi_squared_distribution<double, Quiet>;
using Binomial = bm::binomial_distribution<double, Quiet>;

using Answers = std::vector<std::vector<uint8_t>>;  // [seed][example], nonzero for correct

Interval95 around(double centre, double half_width) { return {centre - half_width, centre + half_width}; }

double half_width_of_mean(double sd, int64_t n) {
  const auto count = static_cast<double>(n);
  return bm::quantile(StudentT(count - 1), 1 - significance / 2) * sd / std::sqrt(count);
}

// What a bootstrap draws: the seeds, or the examples. Independent of each other for the same seed.
enum class Draw : uint32_t { seeds = 0, examples = 1 };

// Indices drawn with replacement for one resample. The top four bits of the counter's second word are 0, which is no
// Stream: never the numbers of a training run with the same seed.
class Indices {
 public:
  Indices(uint64_t seed, Draw draw, int resample) : seed_(seed), draw_(draw), resample_(resample) {}

  /// A uniform index below n; the multiply-shift reduction has a bias below n / 2^32.
  size_t next(size_t n) {
    if (used_ == 4) {
      words_ = philox4x32({block_++, 0, static_cast<uint32_t>(draw_), static_cast<uint32_t>(resample_)},
                          static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32));
      used_ = 0;
    }
    return (uint64_t{words_[used_++]} * n) >> 32;
  }

 private:
  uint64_t seed_;
  Draw draw_;
  int resample_;
  uint32_t block_ = 0;
  size_t used_ = 4;
  std::array<uint32_t, 4> words_{};
};

// Quantile q of sorted values with linear interpolation between them (type 7 of Hyndman & Fan 1996, numpy's default).
double quantile(const std::vector<double>& sorted, double q) {
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const double share = position - static_cast<double>(below);
  return share == 0 ? sorted[below] : sorted[below] + share * (sorted[below + 1] - sorted[below]);
}

// The percentile interval of statistic(resample), resample = 0 .. bootstrap_resamples - 1.
template <class Statistic>
Interval95 percentile_interval(Statistic statistic) {
  std::vector<double> values(bootstrap_resamples);
  for (int r = 0; r < bootstrap_resamples; ++r) values[static_cast<size_t>(r)] = statistic(r);
  std::sort(values.begin(), values.end());
  return {quantile(values, significance / 2), quantile(values, 1 - significance / 2)};
}

// The number of examples; Error unless a and b are rectangles of the same shape.
size_t check_answers(const char* function, const Answers& a, const Answers& b) {
  if (a.size() != b.size()) fail("{}: {} seeds of the first arm, {} of the second", function, a.size(), b.size());
  const size_t examples = a.empty() ? 0 : a.front().size();
  for (const Answers* arm : {&a, &b})
    for (size_t s = 0; s < arm->size(); ++s)
      if ((*arm)[s].size() != examples)
        fail("{}: seed {} of the {} arm has {} examples, the first seed {}", function, s,
             arm == &a ? "first" : "second", (*arm)[s].size(), examples);
  return examples;
}

}  // namespace

double mean(std::span<const double> values) {
  if (values.empty()) return unknown;
  double sum = 0;  // of the distances from the first value, so that equal values have exactly their mean
  for (const double v : values) sum += v - values[0];
  return values[0] + sum / static_cast<double>(values.size());
}

double standard_deviation(std::span<const double> values) {
  if (values.size() < 2) return unknown;
  const double centre = mean(values);
  double sum = 0;
  for (const double v : values) sum += (v - centre) * (v - centre);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

Interval95 mean_interval(std::span<const double> values) {
  if (values.size() < 2) return {};
  return around(mean(values), half_width_of_mean(standard_deviation(values), static_cast<int64_t>(values.size())));
}

PairedComparison compare_paired(std::span<const double> a, std::span<const double> b, uint64_t seed) {
  if (a.size() != b.size()) fail("compare_paired: {} values of the first arm, {} of the second", a.size(), b.size());
  const size_t n = a.size();
  std::vector<double> d(n);
  double largest = 0;
  bool finite = true;
  for (size_t i = 0; i < n; ++i) {
    d[i] = b[i] - a[i];
    largest = std::max({largest, std::abs(a[i]), std::abs(b[i])});
    finite = finite && std::isfinite(d[i]);
  }
  PairedComparison result{.n = std::ssize(d)};
  if (n == 0 || !finite) return result;
  result.mean = mean(d);
  if (n < 2) return result;
  const auto [least, most] = std::minmax_element(d.begin(), d.end());
  const double rounding = 1e-14 * largest;
  if (*most - *least <= rounding) {
    result.sd = 0;
    if (std::abs(result.mean) > rounding) return result;
    result.mean = 0;
    result.t_interval = result.bootstrap = {0, 0};
    result.p_value = 1;
    return result;
  }
  result.sd = standard_deviation(d);
  result.t_interval = around(result.mean, half_width_of_mean(result.sd, result.n));
  const double t = result.mean / (result.sd / std::sqrt(static_cast<double>(n)));
  result.p_value = 2 * bm::cdf(StudentT(static_cast<double>(n - 1)), -std::abs(t));
  result.bootstrap = percentile_interval([&](int resample) {
    Indices indices(seed, Draw::seeds, resample);
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += d[indices.next(n)];
    return sum / static_cast<double>(n);
  });
  return result;
}

McNemar exact_mcnemar(int64_t only_first, int64_t only_second) {
  if (only_first < 0 || only_second < 0) fail("exact_mcnemar: negative counts: {} and {}", only_first, only_second);
  const Binomial either_way(static_cast<double>(only_first + only_second), 0.5);
  const double tail = bm::cdf(either_way, static_cast<double>(std::min(only_first, only_second)));
  return {only_first, only_second, std::min(1.0, 2 * tail)};
}

McNemar exact_mcnemar(std::span<const uint8_t> first, std::span<const uint8_t> second) {
  if (first.size() != second.size())
    fail("exact_mcnemar: {} answers of the first model, {} of the second", first.size(), second.size());
  int64_t only_first = 0, only_second = 0;
  for (size_t i = 0; i < first.size(); ++i) {
    only_first += first[i] != 0 && second[i] == 0;
    only_second += first[i] == 0 && second[i] != 0;
  }
  return exact_mcnemar(only_first, only_second);
}

McNemar pooled_mcnemar(const Answers& a, const Answers& b) {
  check_answers("pooled_mcnemar", a, b);
  int64_t only_first = 0, only_second = 0;
  for (size_t s = 0; s < a.size(); ++s) {
    const McNemar one = exact_mcnemar(a[s], b[s]);
    only_first += one.only_first;
    only_second += one.only_second;
  }
  return exact_mcnemar(only_first, only_second);
}

Interval95 two_level_bootstrap(const Answers& a, const Answers& b, uint64_t seed) {
  const size_t examples = check_answers("two_level_bootstrap", a, b), seeds = a.size();
  if (seeds == 0 || examples == 0) return {};
  std::vector<std::vector<int8_t>> gain(seeds, std::vector<int8_t>(examples));  // -1, 0, 1: what b has over a
  for (size_t s = 0; s < seeds; ++s)
    for (size_t e = 0; e < examples; ++e) gain[s][e] = static_cast<int8_t>((b[s][e] != 0) - (a[s][e] != 0));
  std::vector<int32_t> sums(examples);  // of an example's gains over the drawn seeds
  return percentile_interval([&](int resample) {
    std::fill(sums.begin(), sums.end(), 0);
    Indices drawn_seeds(seed, Draw::seeds, resample);
    for (size_t i = 0; i < seeds; ++i) {
      const std::vector<int8_t>& row = gain[drawn_seeds.next(seeds)];
      for (size_t e = 0; e < examples; ++e) sums[e] += row[e];
    }
    Indices drawn_examples(seed, Draw::examples, resample);
    int64_t total = 0;
    for (size_t i = 0; i < examples; ++i) total += sums[drawn_examples.next(examples)];
    return static_cast<double>(total) / (static_cast<double>(seeds) * static_cast<double>(examples));
  });
}

std::vector<double> holm(std::span<const double> p_values) {
  std::vector<size_t> order;
  for (size_t i = 0; i < p_values.size(); ++i) {
    if (std::isnan(p_values[i])) continue;
    if (p_values[i] < 0 || p_values[i] > 1) fail("holm: {} is no p-value", p_values[i]);
    order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t i, size_t j) { return p_values[i] < p_values[j]; });
  std::vector<double> adjusted(p_values.size(), unknown);
  double largest = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, std::min(1.0, static_cast<double>(p_values.size() - rank) * p_values[order[rank]]));
    adjusted[order[rank]] = largest;
  }
  return adjusted;
}

double paired_t_power(int64_t seeds, double difference, double sd, double level) {
  if (seeds < 2 || !(sd > 0) || !(level > 0 && level < 1)) return unknown;
  const auto df = static_cast<double>(seeds - 1);
  const double critical = bm::quantile(StudentT(df), 1 - level / 2);
  const double noncentrality = std::sqrt(static_cast<double>(seeds)) * difference / sd;
  // Then chance is in the deviation alone, and Boost's series are too long for it.
  if (std::abs(noncentrality) > 30000) return bm::cdf(ChiSquared(df), df * std::pow(noncentrality / critical, 2));
  const NoncentralT t(df, noncentrality);
  return bm::cdf(t, -critical) + bm::cdf(bm::complement(t, critical));
}

double detectable_difference(int64_t seeds, double sd_of_difference, double power, double level) {
  if (seeds < 2 || !(sd_of_difference > 0) || !(level > 0 && level < 1) || !(power > level && power <= 0.9999))
    return unknown;
  const auto enough = [&](double effect) { return paired_t_power(seeds, effect, 1, level) >= power; };
  double low = 0, high = 1;  // in standard deviations of the differences
  while (!enough(high)) {
    low = high;
    high *= 2;
  }
  while (high - low > 1e-14 * high) {
    const double middle = low + (high - low) / 2;
    (enough(middle) ? high : low) = middle;
  }
  return high * sd_of_difference;
}

double expected_calibration_error(std::span<const double> confidence, std::span<const uint8_t> correct, int bins) {
  if (confidence.size() != correct.size())
    fail("expected_calibration_error: {} confidences, {} answers", confidence.size(), correct.size());
  if (bins < 1) fail("expected_calibration_error: {} bins", bins);
  if (confidence.empty()) return unknown;
  std::vector<double> gaps(static_cast<size_t>(bins));  // sum over the bin's examples of correct - confidence
  for (size_t i = 0; i < confidence.size(); ++i) {
    const double c = confidence[i];
    if (std::isnan(c)) return unknown;
    if (c < 0 || c > 1) fail("expected_calibration_error: confidence {} of example {}", c, i);
    const int bin = std::clamp(static_cast<int>(std::ceil(c * bins)) - 1, 0, bins - 1);
    gaps[static_cast<size_t>(bin)] += (correct[i] != 0 ? 1.0 : 0.0) - c;
  }
  // |accuracy - confidence| of a bin is |gap| / its examples, and is weighted with its examples: they cancel.
  double sum = 0;
  for (const double gap : gaps) sum += std::abs(gap);
  return sum / static_cast<double>(confidence.size());
}

}  // namespace crisp
