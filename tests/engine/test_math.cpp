// The f32 functions of engine/cpu/simd/math.h against f64, over all of their range, and thresholds of rows, for every
// instruction set that this machine has.
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/cpu/backend.h"
#include "tests/engine/math_probe.h"
#include "tests/engine/sample_checks.h"
#include "tests/support/catch.h"

using namespace crisp;

namespace {

const float infinity = std::numeric_limits<float>::infinity(), not_a_number = std::numeric_limits<float>::quiet_NaN();

std::vector<MathProbe> probes() {
  std::vector<MathProbe> all{cpu_math_generic::math_probe()};
#if defined(CRISP_HAVE_X86_MATH)
  const std::string best = cpu_instruction_set();
  if (best != "generic") all.push_back(cpu_math_avx2::math_probe());
  if (best == "avx512") all.push_back(cpu_math_avx512::math_probe());
#endif
  return all;
}

// Every 1009th float from `from` up to `to` (both of one sign), as bit patterns.
void sweep(float from, float to, std::vector<float>& points) {
  const auto a = std::bit_cast<uint32_t>(from), b = std::bit_cast<uint32_t>(to);
  for (uint64_t u = a < b ? a : b; u <= (a < b ? b : a); u += 1009)
    points.push_back(std::bit_cast<float>(static_cast<uint32_t>(u)));
}

using Exact = double (*)(double);

// The largest error in units of the last place of f32, for normal results.
double worst_ulps(const std::vector<float>& x, const std::vector<float>& y, Exact exact) {
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double wanted = exact(static_cast<double>(x[i]));
    const double error = std::abs(static_cast<double>(y[i]) - wanted) / std::ldexp(1, std::ilogb(wanted) - 23);
    if (!(error <= worst)) worst = error;  // a NaN, too
  }
  return worst;
}

std::vector<float> results(void (*f)(int64_t, const float*, float*), const std::vector<float>& x) {
  std::vector<float> y(x.size());
  f(static_cast<int64_t>(x.size()), x.data(), y.data());
  return y;
}

double exact_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }
double exact_density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI); }

}  // namespace

TEST_CASE("exp is within 2 ulp of the exact value") {
  std::vector<float> x;
  sweep(0.0f, 88.72f, x);
  sweep(-0.0f, -87.33f, x);
  for (const MathProbe& probe : probes()) {
    for (const auto f : {probe.exp, probe.exp_of_vectors}) {
      const double worst = worst_ulps(x, results(f, x), std::exp);
      INFO(probe.isa << ": " << worst << " ulp");
      CHECK(worst <= 2);
    }
  }
}

TEST_CASE("exp at the ends of the range") {
  const std::vector<float> x{0.0f, -0.0f, 88.8f, 1e30f, 3e38f, infinity, -infinity, -87.34f, -1e30f, not_a_number};
  const std::vector<float> exact{1, 1, infinity, infinity, infinity, infinity, 0, 0, 0};
  for (const MathProbe& probe : probes()) {
    for (const auto f : {probe.exp, probe.exp_of_vectors}) {
      INFO(probe.isa);
      const std::vector<float> y = results(f, x);
      CHECK(std::vector<float>(y.begin(), y.end() - 1) == exact);
      CHECK(std::isnan(y.back()));
    }
  }
}

TEST_CASE("erf is within 3 ulp of the exact value") {
  std::vector<float> x;
  sweep(1e-37f, 10.0f, x);
  sweep(-1e-37f, -10.0f, x);
  for (const MathProbe& probe : probes()) {
    const double worst = worst_ulps(x, results(probe.erf, x), std::erf);
    INFO(probe.isa << ": " << worst << " ulp");
    CHECK(worst <= 3);
    const std::vector<float> ends = results(probe.erf, {0.0f, infinity, -infinity, 1e30f, not_a_number});
    CHECK(std::vector<float>(ends.begin(), ends.end() - 1) == std::vector<float>{0, 1, -1, 1});
    CHECK(std::isnan(ends.back()));
  }
}

TEST_CASE("the normal distribution is within 8 ulp and its density within 3, in both tails") {
  std::vector<float> x;
  sweep(0.0f, 12.9f, x);
  sweep(-0.0f, -12.9f, x);
  for (const MathProbe& probe : probes()) {
    std::vector<float> cdf(x.size()), density(x.size());
    probe.normal(static_cast<int64_t>(x.size()), x.data(), cdf.data(), density.data());
    const double of_cdf = worst_ulps(x, cdf, exact_cdf), of_density = worst_ulps(x, density, exact_density);
    INFO(probe.isa << ": " << of_cdf << " and " << of_density << " ulp");
    CHECK(of_cdf <= 8);
    CHECK(of_density <= 3);

    const float ends[] = {0.0f, 40.0f, infinity, 1e30f, -40.0f, -infinity, -1e30f, not_a_number};
    float c[8], d[8];
    probe.normal(8, ends, c, d);
    CHECK(std::vector<float>(c, c + 7) == std::vector<float>{0.5f, 1, 1, 1, 0, 0, 0});
    CHECK(std::vector<float>(d + 1, d + 7) == std::vector<float>(6, 0.0f));
    CHECK(std::isnan(c[7]));
    CHECK(std::isnan(d[7]));
  }
}

TEST_CASE("windows find the k-th score of nearly every row, also after groups of one row and rows that have none") {
  const int64_t rows = 200;
  for (const MathProbe& probe : probes()) {
    for (const int64_t n : {5, 16, 17, 40, 130, 490}) {
      const int64_t stride = (n + 15) / 16 * 16, k = (n + 4) / 5;
      for (const int64_t chunk : {33, 49, 64}) {  // 33: the last group of a chunk has one row
        INFO(probe.isa << ", rows of " << n << " in chunks of " << chunk);
        std::vector<double> numbers = test::numbers({rows, stride}, static_cast<uint64_t>(n)).to_vector();
        std::vector<float> scores(numbers.begin(), numbers.end()), limits(static_cast<size_t>(rows));
        for (int64_t r = 70; r < 86; ++r)  // its k-th is no number
          for (int64_t j = 0; j < k; ++j) scores[static_cast<size_t>(r * stride + j)] = NAN;
        probe.thresholds(rows, chunk, n, k, scores.data(), limits.data());
        int64_t found = 0, wrong = 0;
        for (int64_t r = 0; r < rows; ++r) {
          const float limit = limits[static_cast<size_t>(r)];
          if (limit != limit) continue;
          ++found;
          if (r >= 70 && r < 86) {
            ++wrong;
            continue;
          }
          std::vector<float> row(scores.begin() + r * stride, scores.begin() + r * stride + n);
          std::sort(row.begin(), row.end(), std::greater<>());
          wrong += limit != 0.5f * row[static_cast<size_t>(k - 1)];
        }
        CHECK(wrong == 0);
        CHECK(found >= rows - 16 - rows / 20);
      }
    }
  }
}
