// Against mpmath in 40 digits: the tables are what tests/golden/make_statistics_golden.py prints.
#include "train/study/distributions.h"

#include <cmath>
#include <limits>

#include "tests/support/catch.h"

namespace crisp {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();

bool near(double got, double want, double relative) { return std::abs(got - want) <= relative * std::abs(want); }

TEST_CASE("incomplete beta: values in 40 digits") {
  const struct {
    double a, b, x, value;
  } table[] = {
      {0.5, 0.5, 0.25, 0.3333333333333333},         {2.0, 3.0, 0.5, 0.6875},
      {5.0, 0.5, 0.9375, 0.4332360327243805},       {0.5, 20.0, 0.0078125, 0.4222172471093049},
      {30.5, 4.5, 0.75, 0.02962714382424066},       {400.0, 0.5, 0.984375, 0.0003876451641249924},
      {250.5, 1000.0, 0.1875, 0.12772444886137385}, {10000.0, 0.5, 0.9990234375, 9.849937557602587e-06},
      {0.001, 2.0, 0.5, 0.9998067465369478},        {2.0, 2.0, 1e-12, 2.9999999999979998e-24},
  };
  for (const auto& row : table) {
    CAPTURE(row.a, row.b, row.x);
    CHECK(near(incomplete_beta(row.a, row.b, row.x, 1 - row.x), row.value, 1e-11));
    CHECK(std::abs(incomplete_beta(row.b, row.a, 1 - row.x, row.x) - (1 - row.value)) < 1e-11);
  }
  CHECK(incomplete_beta(2, 3, 0, 1) == 0);
  CHECK(incomplete_beta(2, 3, 1, 0) == 1);
  // x so close to 1 that only y knows how close: 1 - I = I_y(b, a), here 3 y^2 - 2 y^3.
  CHECK(incomplete_beta(2, 2, 1, 1e-20) == 1);
  CHECK(near(incomplete_beta(2, 2, 1e-20, 1), 3e-40, 1e-13));
  for (const double wrong : {nan, -1.0, inf}) CHECK(std::isnan(incomplete_beta(wrong, 2, 0.5, 0.5)));
  CHECK(std::isnan(incomplete_beta(2, 2, nan, 0.5)));
}

TEST_CASE("Student's t: distribution function") {
  const struct {
    double t, df, cdf;
  } table[] = {
      {0.0, 3.0, 0.5},
      {1.0, 1.0, 0.75},
      {-1.0, 2.0, 0.2113248654051871},
      {2.5, 4.0, 0.966616727594006},
      {-2.5, 4.0, 0.03338327240599407},
      {-12.0, 2.0, 0.00343646683857923},
      {-40.0, 9.0, 9.491499224669913e-12},
      {1e-06, 5.0, 0.5000003796066899},
      {-3.5, 0.5, 0.17039265997178976},
      {-1.75, 7.25, 0.06105868699245085},
      {-2.0, 100.0, 0.02410608936556684},
      {-5.0, 1000.0, 3.3836281823243153e-07},
      {3.0, 29.0, 0.9972504039330483},
      {-1e10, 1.0, 3.1830988618379065e-11},
  };
  for (const auto& row : table) {
    CAPTURE(row.t, row.df);
    CHECK(near(student_t_cdf(row.t, row.df), row.cdf, 1e-12));
    CHECK(std::abs(student_t_cdf(-row.t, row.df) - (1 - row.cdf)) < 1e-14);
  }
  CHECK(near(student_t_cdf(-1.96, 1e6), 0.024998033792634895, 1e-9));  // lgamma of large numbers
  CHECK(student_t_cdf(-inf, 3) == 0);
  CHECK(student_t_cdf(inf, 3) == 1);
  for (const double df : {0.0, -1.0, nan, inf}) CHECK(std::isnan(student_t_cdf(1, df)));
  CHECK(std::isnan(student_t_cdf(nan, 3)));
}

TEST_CASE("Student's t: quantiles") {
  const struct {
    double p, df, t;
  } table[] = {
      {0.975, 1.0, 12.706204736174694},   {0.975, 2.0, 4.302652729749462},     {0.975, 4.0, 2.7764451051977934},
      {0.975, 9.0, 2.262157162798205},    {0.95, 29.0, 1.6991270265334972},    {0.025, 9.0, -2.2621571627982053},
      {0.6, 3.5, 0.2732654540557796},     {0.9995, 1.0, 636.6192487687897},    {1e-12, 6.0, -179.75335991079197},
      {0.975, 1000.0, 1.962339080826408}, {0.501, 10.0, 0.002569981146866716}, {1e-100, 1.0, -3.1830988618379064e+99},
  };
  for (const auto& row : table) {
    CAPTURE(row.p, row.df);
    CHECK(near(student_t_quantile(row.p, row.df), row.t, 1e-12));
  }
  // The printed table of any textbook: 97.5 %, df = 1 .. 10.
  const double printed[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228};
  for (int df = 1; df <= 10; ++df) CHECK(std::abs(student_t_quantile(0.975, df) - printed[df - 1]) < 5.001e-4);
  CHECK(student_t_quantile(0.5, 7) == 0);
  CHECK(student_t_quantile(0, 7) == -inf);
  CHECK(student_t_quantile(1, 7) == inf);
  for (const double p : {-0.1, 1.1, nan}) CHECK(std::isnan(student_t_quantile(p, 7)));
  for (const double df : {0.0, nan, inf}) CHECK(std::isnan(student_t_quantile(0.975, df)));
}

TEST_CASE("binomial with probability 1/2: all of it") {
  double sum = 0, ways = 1;
  for (int k = 0; k <= 21; ++k) {
    sum += ways / 2097152;  // 2^21
    ways = ways * (21 - k) / (k + 1);
    CHECK(std::abs(half_binomial_cdf(k, 21) - sum) < 1e-15);
  }
  CHECK(half_binomial_cdf(-1, 21) == 0);
  CHECK(half_binomial_cdf(22, 21) == 1);
  CHECK(half_binomial_cdf(0, 0) == 1);
  CHECK(half_binomial_cdf(1, 2) == 0.75);
  CHECK(std::isnan(half_binomial_cdf(0, -1)));
}

TEST_CASE("noncentral t: two tails") {
  CHECK(near(noncentral_t_two_tails(2, 7, 0), 2 * student_t_cdf(-2, 7), 1e-13));
  CHECK(noncentral_t_two_tails(2, 7, 1.5) == noncentral_t_two_tails(2, 7, -1.5));
  CHECK(noncentral_t_two_tails(0, 7, 1) == 1);
  CHECK(std::abs(noncentral_t_two_tails(3, 4, 200) - 1) < 1e-13);  // exp(-delta^2 / 2) would be 0
  CHECK(std::isnan(noncentral_t_two_tails(2, 0, 1)));
  CHECK(std::isnan(noncentral_t_two_tails(2, 7, nan)));
  CHECK(std::isnan(noncentral_t_two_tails(-1, 7, 1)));
}

}  // namespace
}  // namespace crisp
