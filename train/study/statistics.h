// The statistics of a study: what several seeds and one dev set allow to say about the difference between two arms.
// Pure functions: the same input and seed give the same bits. A quantity that the data don't determine (a spread of one
// seed, the mean of none) is NaN, and NaN or infinity in the data gives NaN; lengths that don't fit are an Error.
//
// Which one answers what (train/README.md has more):
// - compare_paired: does the effect hold for new seeds, on this dev set?
// - exact_mcnemar: do these two models differ for new examples?
// - two_level_bootstrap: both, new seeds and new examples.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "train/page/interval.h"

namespace crisp {

/// How often each bootstrap resamples. The ends of a 95 % interval then have a standard error of about
/// 0.027 standard deviations of what is resampled (normal case).
constexpr int bootstrap_resamples = 10000;

/// The arithmetic mean; exactly x where all values are x. NaN for no values.
double mean(std::span<const double> values);

/// The sample standard deviation, with n - 1; exactly 0 where all values are equal. NaN for n < 2.
double standard_deviation(std::span<const double> values);

/// Student's interval of the mean of normal values: mean +- t(0.975, n - 1) sd / sqrt(n). NaN for n < 2, and where the
/// values are all equal a single point.
Interval95 mean_interval(std::span<const double> values);

/// What compare_paired finds about the differences d_i = b_i - a_i.
struct PairedComparison {
  int64_t n = 0;                        ///< pairs
  double mean = unknown, sd = unknown;  ///< of the d_i
  Interval95 t_interval{};              ///< mean +- t(0.975, n - 1) sd / sqrt(n)
  double p_value = unknown;             ///< two-sided paired t test of mean 0 (Student 1908)
  Interval95 bootstrap{};               ///< percentile bootstrap of the mean
};

/// Compares two arms over their common seeds: a[i] and b[i] belong to the same seed. Differences b - a.
///
/// n < 2: sd, both intervals and the p-value are NaN. Differences that are equal up to rounding (1e-14 of the largest
/// value) have sd 0, which no t statistic can be divided by: if they are all 0 the arms agree, p_value is 1 and the
/// intervals are [0, 0]; otherwise p_value and both intervals are NaN, because accuracies are multiples of
/// 1 / examples and three seeds with the same gain show no spread by chance, not certainty.
///
/// The bootstrap draws n of the n differences with replacement and takes the 2.5 % and 97.5 % quantiles (linear
/// interpolation) of the mean (Efron 1979; Efron & Tibshirani 1993, chapter 13). Percentile and not BCa: with the few
/// seeds of a study BCa's corrections are themselves noise (its acceleration is a third moment of n values), and the
/// mean has no bias to correct. For few seeds it is too narrow, by about sqrt((n - 1) / n) and by the lack of t's
/// heavier tails: the t interval is the one to cite, the bootstrap shows whether the normal assumption matters. Error
/// where the lengths differ.
PairedComparison compare_paired(std::span<const double> a, std::span<const double> b, uint64_t seed);

/// McNemar's counts: examples that only the first (second) of two models has right.
struct McNemar {
  int64_t only_first, only_second;
  double p_value;
};

/// McNemar's test (1947) in its exact form, the two-sided sign test: of the n = only_first + only_second examples on
/// which the models disagree each is either way with probability 1/2, p = min(1, 2 P(X <= min(only_first,
/// only_second))), X binomial (n, 1/2). 1 where they never disagree. Error for negative counts.
McNemar exact_mcnemar(int64_t only_first, int64_t only_second);

/// The same from the two models' answers to the same examples (nonzero: correct). Error where the lengths differ.
McNemar exact_mcnemar(std::span<const uint8_t> first, std::span<const uint8_t> second);

/// The exact test on the counts added over all seeds: [seed][example], a[s] against b[s]. It takes each (seed, example)
/// for an independent trial, which it is not: the seeds answer the same examples, and an example that is hard for one
/// is hard for the others. The p-value is therefore too small, the more so the more seeds; it describes the counts and
/// is no test of the arms. For that there are compare_paired and two_level_bootstrap.
/// Error where the shapes differ.
McNemar pooled_mcnemar(const std::vector<std::vector<uint8_t>>& a, const std::vector<std::vector<uint8_t>>& b);

/// Bootstrap interval of the difference of mean accuracies, b - a, for new seeds and new examples at once:
/// [seed][example], nonzero for correct; seed s of a and of b are a pair, and all seeds of both arms answer the same
/// examples. Each resample draws the seeds with replacement and, independently, the examples with replacement, the same
/// ones for all seeds and both arms (the pigeonhole bootstrap: Owen 2007, arXiv 0712.1111, who shows that it errs on
/// the wide side). Percentile interval as in compare_paired. With one seed only the examples vary. NaN for no seeds or
/// no examples; Error where the shapes differ.
Interval95 two_level_bootstrap(const std::vector<std::vector<uint8_t>>& a, const std::vector<std::vector<uint8_t>>& b,
                               uint64_t seed);

/// P-values adjusted for all comparisons of a family (Holm 1979), in the input's order: with the m p-values sorted,
/// adjusted_(i) = max over j <= i of min(1, (m - j + 1) p_(j)). A comparison whose p-value is NaN counts in m, as if it
/// were 1: it belongs to the family, and the others must not gain by its being undetermined. It stays NaN itself.
/// Error for a p-value outside [0, 1].
std::vector<double> holm(std::span<const double> p_values);

/// Below this p-value, after Holm's correction where there are several comparisons, a difference is called shown.
constexpr double significance = 0.05;

/// Power of the two-sided paired t test at `level`: the probability that it rejects where the true difference is
/// `difference` and the differences have standard deviation `sd`, by the noncentral t distribution with
/// noncentrality sqrt(seeds) difference / sd. NaN for seeds < 2, sd <= 0 or a level not within (0, 1).
double paired_t_power(int64_t seeds, double difference, double sd, double level = significance);

/// The smallest true difference that the two-sided paired t test at `level` finds with probability `power`: the inverse
/// of paired_t_power. Of m comparisons Holm asks the smallest p-value to be below significance / m: the strictest
/// level, at which one difference alone is found. NaN for seeds < 2, sd <= 0 (differences that happen to be equal show
/// no spread, not that the test would see any), a level not within (0, 1), or a power not within (level, 0.9999].
double detectable_difference(int64_t seeds, double sd_of_difference, double power = 0.8, double level = significance);

/// Expected calibration error (Guo et al. 2017, arXiv 1706.04599, equation 3): with the examples sorted into `bins`
/// bins of equal width by their confidence, bin m being ((m - 1) / bins, m / bins] and a confidence of 0 in the first,
///   sum over bins of (examples in bin / examples) |accuracy in bin - mean confidence in bin|.
/// `confidence` is the probability of the predicted class. NaN for no examples or where a confidence is NaN; Error for
/// lengths that differ, bins < 1, or a confidence outside [0, 1].
double expected_calibration_error(std::span<const double> confidence, std::span<const uint8_t> correct, int bins = 15);

}  // namespace crisp
