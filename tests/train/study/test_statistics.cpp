// Against SciPy, statsmodels and mpmath: the tables are what tests/golden/make_statistics_golden.py prints.
#include "train/study/statistics.h"

#include <cmath>
#include <limits>

#include "engine/error.h"
#include "tests/support/catch.h"

namespace crisp {
namespace {

using Values = std::vector<double>;
using Answers = std::vector<std::vector<uint8_t>>;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();

// Student's sleep data (1908): hours of sleep gained by each of two drugs, ten patients.
const Values drug1 = {0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0};
const Values drug2 = {1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4};

bool near(double got, double want, double relative) { return std::abs(got - want) <= relative * std::abs(want); }
bool none(const Interval95& interval) { return std::isnan(interval.low) && std::isnan(interval.high); }

// The generator of make_statistics_golden.py: some examples are hard for all seeds, some seeds are worse in both arms.
Answers answers(int arm, int seeds, int examples) {
  Answers out(static_cast<size_t>(seeds));
  uint64_t state = 12345 + static_cast<uint64_t>(arm);
  for (int s = 0; s < seeds; ++s) {
    for (int e = 0; e < examples; ++e) {
      state = (state * 1103515245 + 12345) % (uint64_t{1} << 31);
      int chance = (e % 5 == 0 ? 20 : e % 5 < 3 ? 95 : 80) - 15 * (s % 3);
      if (arm == 1) chance += e % 5 == 0 ? 25 : s % 2;
      out[static_cast<size_t>(s)].push_back(static_cast<int>(state / 65536 % 100) < chance);
    }
  }
  return out;
}

TEST_CASE("mean and standard deviation") {
  CHECK(std::isnan(mean({})));
  CHECK(std::isnan(standard_deviation({})));
  const Values one = {0.1}, equal = {0.1, 0.1, 0.1}, some = {2, 4, 4, 4, 5, 5, 7, 9}, far = {1e9 + 1, 1e9 + 2, 1e9 + 3};
  CHECK(mean(one) == 0.1);
  CHECK(std::isnan(standard_deviation(one)));
  CHECK(mean(equal) == 0.1);
  CHECK(standard_deviation(equal) == 0);
  CHECK(mean(some) == 5);
  CHECK(near(standard_deviation(some), std::sqrt(32.0 / 7), 1e-15));
  CHECK(standard_deviation(far) == 1);
  CHECK(std::isnan(mean(Values{1, nan})));
  CHECK(std::isnan(standard_deviation(Values{1, inf})));
}

TEST_CASE("interval of a mean") {
  const Interval95 interval = mean_interval(Values{1, 2, 3});
  const double half = 4.302652729749462 / std::sqrt(3.0);
  CHECK(near(interval.low, 2 - half, 1e-12));
  CHECK(near(interval.high, 2 + half, 1e-12));
  CHECK(mean_interval(Values{0.1, 0.1, 0.1}).low == 0.1);
  CHECK(none(mean_interval({})));
  CHECK(none(mean_interval(Values{1})));
  CHECK(none(mean_interval(Values{1, nan})));
}

TEST_CASE("Student's t: quantiles, by intervals of a mean") {
  const struct {
    size_t df;
    double quantile;  // 97.5 %
  } table[] = {{1, 12.706204736174694},
               {2, 4.302652729749462},
               {4, 2.7764451051977934},
               {9, 2.262157162798205},
               {1000, 1.962339080826408}};
  const auto quantile = [](size_t df) {
    Values values(df + 1);
    values[0] = 1, values[1] = -1;
    return mean_interval(values).high * std::sqrt(static_cast<double>(df + 1)) / standard_deviation(values);
  };
  for (const auto& row : table) CHECK(near(quantile(row.df), row.quantile, 1e-12));
  // The printed table of any textbook: df = 1 .. 10.
  const double printed[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228};
  for (size_t df = 1; df <= 10; ++df) CHECK(std::abs(quantile(df) - printed[df - 1]) < 5.001e-4);
}

TEST_CASE("Student's t: distribution function, by p-values") {
  const struct {
    double t;
    size_t df;
    double cdf;
  } table[] = {
      {0, 3, 0.5},
      {-1, 1, 0.25},
      {-1, 2, 0.2113248654051871},
      {-2.5, 4, 0.03338327240599407},
      {-12, 2, 0.00343646683857923},
      {-40, 9, 9.491499224669913e-12},
      {-2, 100, 0.02410608936556684},
      {-5, 1000, 3.3836281823243153e-07},
  };
  for (const auto& row : table) {
    CAPTURE(row.t, row.df);
    Values zeros(row.df + 1), differences(row.df + 1);  // of standard deviation 1 around a mean that gives this t
    const auto n = static_cast<double>(differences.size());
    differences[row.df] = std::sqrt((n - 1) / 2), differences[row.df - 1] = -differences[row.df];
    for (double& d : differences) d += row.t / std::sqrt(n);
    CHECK(near(compare_paired(zeros, differences, 0).p_value, 2 * row.cdf, 1e-12));
  }
}

TEST_CASE("paired comparison: the t test and its interval") {
  const Values first = {0.8922, 0.8830, 0.8911, 0.9002, 0.8865}, second = {0.8899, 0.8773, 0.8922, 0.8911, 0.8819};
  const PairedComparison seeds = compare_paired(first, second, 0);
  CHECK(seeds.n == 5);
  CHECK(near(seeds.mean, -0.00411999999999999, 1e-12));
  CHECK(near(seeds.sd, 0.003810774199555782, 1e-12));
  CHECK(near(seeds.t_interval.low, -0.00885170112887217, 1e-11));
  CHECK(near(seeds.t_interval.high, 0.0006117011288721908, 1e-11));
  CHECK(near(seeds.p_value, 0.07295897092952558, 1e-11));

  const PairedComparison sleep = compare_paired(drug1, drug2, 0);  // Student: t = 4.06, p = 0.0028
  CHECK(near(sleep.mean, 1.58, 1e-14));
  CHECK(near(sleep.sd, 1.2299954832798732, 1e-13));
  CHECK(near(sleep.t_interval.low, 0.7001142367230175, 1e-12));
  CHECK(near(sleep.t_interval.high, 2.459885763276983, 1e-12));
  CHECK(near(sleep.p_value, 0.002832890197384273, 1e-11));

  const PairedComparison turned = compare_paired(drug2, drug1, 0);  // b - a
  CHECK(near(turned.mean, -1.58, 1e-14));
  CHECK(turned.p_value == sleep.p_value);
  CHECK(near(turned.bootstrap.low, -sleep.bootstrap.high, 1e-14));
}

TEST_CASE("paired comparison: percentile bootstrap") {
  // scipy.stats.bootstrap(method="percentile") with a million resamples: [0.95, 2.38], standard error 0.3686, of which
  // an end with 10,000 resamples is off by about 0.03 (skewed: a little more at the upper end).
  const PairedComparison sleep = compare_paired(drug1, drug2, 0);
  CHECK(std::abs(sleep.bootstrap.low - 0.95) < 4 * 0.03 * 0.3686);
  CHECK(std::abs(sleep.bootstrap.high - 2.38) < 5 * 0.03 * 0.3686);

  // Symmetric two-valued differences: the mean of n = 64 resampled -1 and 1 is 2 X / n - 1, X binomial (64, 1/2),
  // whose 2.5 % quantile is 24.
  Values zeros(64), ones(64);
  for (size_t i = 0; i < ones.size(); ++i) ones[i] = i % 2 == 0 ? 1 : -1;
  const Interval95 binomial = compare_paired(zeros, ones, 3).bootstrap;
  CHECK(binomial.low == -0.25);
  CHECK(binomial.high == 0.25);

  const Interval95 again = compare_paired(drug1, drug2, 0).bootstrap, other = compare_paired(drug1, drug2, 1).bootstrap;
  CHECK(again.low == sleep.bootstrap.low);
  CHECK(again.high == sleep.bootstrap.high);
  CHECK((other.low != again.low || other.high != again.high));
  const uint64_t high_half = uint64_t{1} << 32;  // all 64 bits of the seed count
  const Interval95 high = compare_paired(drug1, drug2, high_half).bootstrap;
  CHECK((high.low != again.low || high.high != again.high));
}

TEST_CASE("paired comparison: what few or equal seeds don't determine is NaN") {
  const PairedComparison empty = compare_paired({}, {}, 0);
  CHECK(empty.n == 0);
  CHECK(std::isnan(empty.mean));

  const PairedComparison one = compare_paired(Values{0.5}, Values{0.75}, 0);
  CHECK(one.n == 1);
  CHECK(one.mean == 0.25);
  for (const PairedComparison& c : {empty, one}) {
    CHECK(std::isnan(c.sd));
    CHECK(std::isnan(c.p_value));
    CHECK(none(c.t_interval));
    CHECK(none(c.bootstrap));
  }

  const PairedComparison same = compare_paired(Values{0.8, 0.9, 0.7}, Values{0.8, 0.9, 0.7}, 0);
  CHECK(same.mean == 0);
  CHECK(same.sd == 0);
  CHECK(same.p_value == 1);
  CHECK(same.t_interval.low == 0);
  CHECK(same.bootstrap.high == 0);

  // One more of 872 right with every seed: the differences are equal but for their rounding.
  const Values before = {770.0 / 872, 777.0 / 872, 778.0 / 872}, after = {771.0 / 872, 778.0 / 872, 779.0 / 872};
  CHECK(standard_deviation(Values{after[0] - before[0], after[1] - before[1], after[2] - before[2]}) > 0);
  const PairedComparison shifted = compare_paired(before, after, 0);
  CHECK(near(shifted.mean, 1.0 / 872, 1e-12));
  CHECK(shifted.sd == 0);
  CHECK(std::isnan(shifted.p_value));
  CHECK(none(shifted.t_interval));
  CHECK(none(shifted.bootstrap));

  const PairedComparison spoilt = compare_paired(Values{0.8, nan, 0.7}, Values{0.8, 0.9, 0.8}, 0);
  CHECK(spoilt.n == 3);
  CHECK(std::isnan(spoilt.mean));
  CHECK(std::isnan(spoilt.p_value));
  CHECK(std::isnan(compare_paired(Values{0.8, inf}, Values{0.8, inf}, 0).mean));
  CHECK_THROWS_AS(compare_paired(Values{1, 2}, Values{1}, 0), Error);
}

TEST_CASE("McNemar: exact p-values") {
  const struct {
    int64_t only_first, only_second;
    double p, relative;
  } table[] = {
      {0, 0, 1.0, 0},
      {0, 1, 1.0, 0},
      {0, 6, 0.03125, 1e-15},
      {3, 3, 1.0, 0},
      {4, 5, 1.0, 0},
      {5, 15, 0.04138946533203125, 1e-14},
      {15, 5, 0.04138946533203125, 1e-14},
      {12, 30, 0.007915897334896727, 1e-13},
      {250, 310, 0.01259047514938026, 1e-13},
      {1000, 1200, 2.1817026407914712e-05, 1e-12},
      {0, 60, 1.734723475976807e-18, 1e-13},
      {20, 900, 1.4536895244035852e-236, 1e-12},
      {100000, 101500, 0.000839654119712958, 1e-9},  // SciPy's own digits end here
      {1000000, 1000000, 1.0, 0},
      {5000000, 5003000, 0.34301500080841996, 1e-9},
  };
  for (const auto& row : table) {
    CAPTURE(row.only_first, row.only_second);
    const McNemar test = exact_mcnemar(row.only_first, row.only_second);
    CHECK(test.only_first == row.only_first);
    CHECK(test.only_second == row.only_second);
    CHECK(near(test.p_value, row.p, row.relative));
  }
  CHECK(exact_mcnemar(0, 5'000'000).p_value == 0);
  // A million million disagreements, half a standard deviation (5e5) from even: 2 Phi(-0.5) to the normal's precision.
  CHECK(std::abs(exact_mcnemar(500'000'000'000 - 250'000, 500'000'000'000 + 250'000).p_value - 0.617075077) < 2e-6);
  CHECK_THROWS_AS(exact_mcnemar(-1, 3), Error);
  CHECK_THROWS_AS(exact_mcnemar(3, -1), Error);
}

TEST_CASE("McNemar: from answers, one pair of models and pooled over seeds") {
  const std::vector<uint8_t> first = {1, 1, 0, 0, 255, 0, 1}, second = {1, 0, 1, 0, 0, 1, 0};
  const McNemar one = exact_mcnemar(first, second);
  CHECK(one.only_first == 3);
  CHECK(one.only_second == 2);
  CHECK(one.p_value == 1);
  CHECK(exact_mcnemar(std::vector<uint8_t>{}, std::vector<uint8_t>{}).p_value == 1);
  CHECK_THROWS_AS(exact_mcnemar(first, std::vector<uint8_t>{1}), Error);

  const McNemar pooled = pooled_mcnemar(answers(0, 6, 150), answers(1, 6, 150));
  CHECK(pooled.only_first == 128);
  CHECK(pooled.only_second == 178);
  CHECK(near(pooled.p_value, 0.005009632596259868, 1e-11));
  CHECK(pooled_mcnemar({}, {}).p_value == 1);
  CHECK_THROWS_AS(pooled_mcnemar({first}, {first, second}), Error);
}

TEST_CASE("two-level bootstrap: seeds and examples vary, the examples for all seeds and both arms alike") {
  // A plain numpy version with 200,000 resamples: [-0.01, 0.12222], standard deviation 0.03359. The wrong ones would be
  // off by more than the tolerance of 4 standard errors: examples alone [0.0144, 0.0967], seeds alone
  // [0.0178, 0.0944], other examples for each seed [0.0022, 0.11], seeds not paired [-0.084, 0.197].
  const Answers a = answers(0, 6, 150), b = answers(1, 6, 150);
  const Interval95 interval = two_level_bootstrap(a, b, 0);
  CHECK(std::abs(interval.low - -0.01) < 4 * 0.027 * 0.0336);
  CHECK(std::abs(interval.high - 0.12222) < 4 * 0.027 * 0.0336);

  const Interval95 again = two_level_bootstrap(a, b, 0), turned = two_level_bootstrap(b, a, 0);
  CHECK(again.low == interval.low);
  CHECK(again.high == interval.high);
  CHECK(near(turned.low, -interval.high, 1e-14));
  const Interval95 other = two_level_bootstrap(a, b, 7);
  CHECK((other.low != interval.low || other.high != interval.high));
}

TEST_CASE("two-level bootstrap: one of the levels alone is a plain bootstrap") {
  // The same gain with every seed: only examples vary. 64 of 256 examples gained: a binomial mean of (256, 1/4), whose
  // 2.5 % and 97.5 % quantiles are 51 and 78 (scipy.stats.binom.ppf).
  Answers a(3, std::vector<uint8_t>(256)), b = a;
  for (auto& seed : b)
    for (size_t e = 0; e < 64; ++e) seed[e] = 1;
  const Interval95 by_example = two_level_bootstrap(a, b, 5);
  CHECK(std::abs(by_example.low - 51 / 256.0) <= 1 / 256.0);
  CHECK(std::abs(by_example.high - 78 / 256.0) <= 1 / 256.0);

  // All examples alike within a seed, 16 of 64 seeds better: binomial (64, 1/4), quantiles 9 and 23.
  a.assign(64, std::vector<uint8_t>(10));
  b = a;
  for (size_t s = 0; s < 16; ++s) b[s].assign(10, 1);
  const Interval95 by_seed = two_level_bootstrap(a, b, 5);
  CHECK(std::abs(by_seed.low - 9 / 64.0) <= 1 / 64.0);
  CHECK(std::abs(by_seed.high - 23 / 64.0) <= 1 / 64.0);
}

TEST_CASE("two-level bootstrap: seeds and examples are drawn independently") {
  // The gain is [seed even] - [example even]: the same draws for both would always give 0. The 2.5 % and 97.5 %
  // quantiles of the difference of two binomial (32, 1/2) are -8 and 8.
  Answers a(32, std::vector<uint8_t>(32)), b = a;
  for (size_t s = 0; s < 32; ++s) {
    for (size_t e = 0; e < 32; ++e) {
      a[s][e] = e % 2 == 0;
      b[s][e] = s % 2 == 0;
    }
  }
  const Interval95 interval = two_level_bootstrap(a, b, 2);
  CHECK(interval.low == -0.25);
  CHECK(interval.high == 0.25);
}

TEST_CASE("two-level bootstrap: edge cases") {
  const Answers some = answers(0, 2, 40), other = answers(1, 2, 40);
  CHECK(none(two_level_bootstrap({}, {}, 0)));
  CHECK(none(two_level_bootstrap({{}, {}}, {{}, {}}, 0)));
  const Interval95 equal = two_level_bootstrap(some, some, 0);
  CHECK(equal.low == 0);
  CHECK(equal.high == 0);
  const Interval95 one = two_level_bootstrap({some[0]}, {other[0]}, 0);
  CHECK(one.low < one.high);
  CHECK(two_level_bootstrap({{1}}, {{2}}, 0).high == 0);  // nonzero is correct
  CHECK_THROWS_AS(two_level_bootstrap(some, {other[0]}, 0), Error);
  CHECK_THROWS_AS(two_level_bootstrap(some, {other[0], {1}}, 0), Error);
}

TEST_CASE("Holm: as statsmodels, in the input's order") {
  const Values p = {0.01, 0.04, 0.03, 0.005, 0.2, 0.03, 1.0, 0.0};
  const Values adjusted = {0.06, 0.15, 0.15, 0.035, 0.4, 0.15, 1.0, 0.0};
  const Values got = holm(p);
  REQUIRE(got.size() == p.size());
  for (size_t i = 0; i < p.size(); ++i) CHECK(std::abs(got[i] - adjusted[i]) < 1e-15);
}

TEST_CASE("Holm: NaN stays and counts as 1, an empty family is empty, nothing exceeds 1") {
  const Values got = holm(Values{nan, 0.02, nan, 0.01, 0.9, nan});
  for (const size_t i : {0, 2, 5}) CHECK(std::isnan(got[i]));
  CHECK(got[1] == 0.1);
  CHECK(got[3] == 0.06);
  CHECK(got[4] == 1);
  const Values as_ones = holm(Values{1, 0.02, 1, 0.01, 0.9, 1});
  for (const size_t i : {1, 3, 4}) CHECK(got[i] == as_ones[i]);
  CHECK(holm({}).empty());
  CHECK(std::isnan(holm(Values{nan})[0]));
  CHECK(holm(Values{0.4}) == Values{0.4});
  CHECK(holm(Values{0.6, 0.7, 1.0}) == Values{1, 1, 1});

  Values many(1000, nan);  // every other one undetermined: still 1000 hypotheses
  for (size_t i = 0; i < many.size(); i += 2) many[i] = 1e-4;
  CHECK(near(holm(many)[998], 0.1, 1e-14));
  CHECK_THROWS_AS(holm(Values{1.5}), Error);
  CHECK_THROWS_AS(holm(Values{-0.1}), Error);
}

TEST_CASE("calibration error: by hand and against its formula") {
  // Bins of 1/4: (0.5, 0.75] holds 0.6 and 0.75 (one right), (0.75, 1] holds 0.9 and 1 (both right).
  const Values confidence = {0.6, 0.75, 0.9, 1.0};
  const std::vector<uint8_t> correct = {1, 0, 1, 1};
  CHECK(near(expected_calibration_error(confidence, correct, 4), 0.5 * 0.175 + 0.5 * 0.05, 1e-14));
  // One bin: the accuracy 3/4 against the mean confidence 3.25/4.
  CHECK(near(expected_calibration_error(confidence, correct, 1), 0.0625, 1e-14));
  // 0 belongs to the first bin: with 0.5 in it, accuracy 1/2 against 1/4.
  CHECK(near(expected_calibration_error(Values{0, 0.5}, std::vector<uint8_t>{0, 1}, 2), 0.25, 1e-14));
  CHECK(expected_calibration_error(Values{1, 1}, std::vector<uint8_t>{1, 1}) == 0);

  Values many;
  std::vector<uint8_t> right;
  for (int i = 0; i < 60; ++i) {
    many.push_back((7 * i * i + 3 * i) % 101 / 202.0 + 0.5);
    right.push_back(i * 37 % 100 < 72);
  }
  CHECK(near(expected_calibration_error(many, right, 1), 0.030115511551155105, 1e-12));
  CHECK(near(expected_calibration_error(many, right, 10), 0.1477722772277228, 1e-12));
  CHECK(near(expected_calibration_error(many, right), 0.17714521452145218, 1e-12));

  CHECK(std::isnan(expected_calibration_error({}, {})));
  CHECK(std::isnan(expected_calibration_error(Values{0.5, nan}, std::vector<uint8_t>{1, 1})));
  CHECK_THROWS_AS(expected_calibration_error(Values{0.5}, std::vector<uint8_t>{1, 1}), Error);
  CHECK_THROWS_AS(expected_calibration_error(Values{1.5}, std::vector<uint8_t>{1}), Error);
  CHECK_THROWS_AS(expected_calibration_error(Values{-0.5}, std::vector<uint8_t>{1}), Error);
  CHECK_THROWS_AS(expected_calibration_error(Values{0.5}, std::vector<uint8_t>{1}, 0), Error);
}

}  // namespace
}  // namespace crisp
