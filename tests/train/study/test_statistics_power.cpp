// Power and detectable differences, against statsmodels and mpmath: tests/golden/make_statistics_golden.py prints the
// tables.
#include <cmath>
#include <limits>

#include "tests/support/catch.h"
#include "train/study/statistics.h"

namespace crisp {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

bool near(double got, double want, double relative) { return std::abs(got - want) <= relative * std::abs(want); }

TEST_CASE("power of the paired t test") {
  const struct {
    int64_t seeds;
    double effect, power;
  } table[] = {
      {2, 0.0, 0.05},
      {2, 1.0, 0.09280915505633612},
      {2, 11.0, 0.7777386618611054},
      {3, 1.5, 0.31638186155915066},
      {5, 0.5, 0.14051668999029823},
      {5, -1.5, 0.7107026739256753},
      {10, 1.0, 0.8030968566327218},
      {20, 0.66, 0.7994764276052579},
      {100, 0.28, 0.7918283273997718},
      {5, 3.0, 0.9976795774377042},
      {3, 20.0, 1.0},
  };
  for (const auto& row : table) {
    CAPTURE(row.seeds, row.effect);
    CHECK(std::abs(paired_t_power(row.seeds, row.effect * 0.01, 0.01) - row.power) < 1e-11);
  }
  // Where the series give way to chance in the deviation alone.
  for (const double critical_level : {1e-5, 1e-9}) {
    const double below = paired_t_power(2, 29999 / std::sqrt(2.0), 1, critical_level),
                 above = paired_t_power(2, 30001 / std::sqrt(2.0), 1, critical_level);
    CHECK(below > 0);
    CHECK(above / below == Approx(1).epsilon(1e-4));
    CHECK(paired_t_power(2, -1e6, 1, critical_level) == paired_t_power(2, 1e6, 1, critical_level));
  }
  CHECK(paired_t_power(5, 1, 1e-5) == Approx(1));
  CHECK(std::isnan(paired_t_power(1, 1, 1)));
  CHECK(std::isnan(paired_t_power(0, 1, 1)));
  for (const double sd : {0.0, -1.0, nan}) CHECK(std::isnan(paired_t_power(5, 1, sd)));
  CHECK(std::isnan(paired_t_power(5, nan, 1)));
}

TEST_CASE("detectable difference: statsmodels' TTestPower to more digits, and corrected ones by mpmath") {
  const struct {
    int64_t seeds;
    double power;
    int comparisons;
    double effect;
  } table[] = {
      {2, 0.8, 1, 11.549888435882348},  {3, 0.8, 1, 3.264043549699571},    {5, 0.8, 1, 1.6819969659555545},
      {10, 0.8, 1, 0.9960013714554438}, {30, 0.8, 1, 0.5292356151129529},  {100, 0.9, 1, 0.32734314038321677},
      {5, 0.5, 1, 1.1531580106878825},  {10, 0.99, 1, 1.5334068481117824}, {2, 0.8, 3, 34.618007866267223},
      {4, 0.8, 3, 3.1242073059156173},  {5, 0.8, 19, 3.7263479841547375},  {10, 0.9, 3, 1.3944897988275244},
  };
  for (const auto& row : table) {
    CAPTURE(row.seeds, row.power, row.comparisons);
    const double level = 0.05 / row.comparisons;
    CHECK(near(detectable_difference(row.seeds, 1, row.power, level), row.effect, 1e-11));
    const double difference = detectable_difference(row.seeds, 0.004, row.power, level);
    CHECK(near(difference, 0.004 * row.effect, 1e-11));
    CHECK(std::abs(paired_t_power(row.seeds, difference, 0.004, level) - row.power) < 1e-11);
  }
  CHECK(detectable_difference(5, 0.01) == detectable_difference(5, 0.01, 0.8, 0.05));
  CHECK(std::isnan(detectable_difference(5, 0)));
  CHECK(detectable_difference(2, 1, 0.9999) > 11.5);
  CHECK(std::isnan(detectable_difference(1, 0.01)));
  CHECK(std::isnan(detectable_difference(0, 0.01)));
  CHECK(std::isnan(detectable_difference(5, nan)));
  CHECK(std::isnan(detectable_difference(5, -0.01)));
  for (const double power : {0.05, 0.0, 1.0, nan}) CHECK(std::isnan(detectable_difference(5, 0.01, power)));
  for (const double level : {0.0, 1.0, -0.1, nan, 0.8}) CHECK(std::isnan(detectable_difference(5, 0.01, 0.8, level)));
  for (const double level : {0.0, 1.0, nan}) CHECK(std::isnan(paired_t_power(5, 1, 1, level)));
}

}  // namespace
}  // namespace crisp
