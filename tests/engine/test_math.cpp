// The f32 functions of engine/cpu/math.h against f64, over all of their range.
#define CRISP_ISA test_math
#include "engine/cpu/math.h"

#include <limits>

#include "tests/support/catch.h"

using namespace crisp::test_math;

namespace {

// Every 1009th float from `from` up to `to` (both of one sign), as bit patterns.
template <class F>
void sweep(float from, float to, F f) {
  const auto a = std::bit_cast<uint32_t>(from), b = std::bit_cast<uint32_t>(to);
  for (uint64_t u = a < b ? a : b; u <= (a < b ? b : a); u += 1009) f(std::bit_cast<float>(static_cast<uint32_t>(u)));
}

double ulp(double exact) {
  const float f = static_cast<float>(std::abs(exact));
  return static_cast<double>(std::nextafter(f, std::numeric_limits<float>::infinity())) - static_cast<double>(f);
}

}  // namespace

TEST_CASE("exp is within 2 ulp of the exact value") {
  double worst = 0;
  const auto check = [&](float x) {
    const double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(static_cast<double>(vexp(x)) - exact) / ulp(exact));
  };
  sweep(0.0f, 88.72f, check);
  sweep(-0.0f, -87.33f, check);
  INFO(worst);
  CHECK(worst <= 2);
}

TEST_CASE("exp at the ends of the range") {
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(vexp(0.0f) == 1.0f);
  CHECK(vexp(-0.0f) == 1.0f);
  CHECK(vexp(88.8f) == inf);
  CHECK(vexp(1e30f) == inf);
  CHECK(vexp(inf) == inf);
  CHECK(vexp(-inf) == 0.0f);
  CHECK(vexp(-1e30f) == 0.0f);
  CHECK(std::isnan(vexp(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("erf is within 3 ulp of the exact value") {
  double worst = 0;
  const auto check = [&](float x) {
    const double exact = std::erf(static_cast<double>(x));
    worst = std::max(worst, std::abs(static_cast<double>(verf(x)) - exact) / ulp(exact));
  };
  sweep(1e-37f, 10.0f, check);
  sweep(-1e-37f, -10.0f, check);
  INFO(worst);
  CHECK(worst <= 3);
  CHECK(verf(0.0f) == 0.0f);
  CHECK(verf(std::numeric_limits<float>::infinity()) == 1.0f);
  CHECK(verf(-std::numeric_limits<float>::infinity()) == -1.0f);
  CHECK(std::isnan(verf(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("the normal distribution function is accurate in both tails") {
  double cdf = 0, density = 0;
  const auto check = [&](float x) {
    const double d = x;
    const double exact = 0.5 * std::erfc(-d / std::sqrt(2.0)), phi = std::exp(-0.5 * d * d) / std::sqrt(2 * M_PI);
    const Normal<float> n = normal_at(x);
    cdf = std::max(cdf, std::abs(static_cast<double>(n.cdf) - exact) / exact);
    density = std::max(density, std::abs(static_cast<double>(n.density) - phi) / phi);
  };
  sweep(0.0f, 12.9f, check);
  sweep(-0.0f, -12.9f, check);
  INFO("relative errors: cdf " << cdf << ", density " << density);
  CHECK(cdf < 6e-7);
  CHECK(density < 6e-7);
  CHECK(normal_at(0.0f).cdf == 0.5f);
  CHECK(normal_at(40.0f).cdf == 1.0f);
  CHECK(normal_at(-40.0f).cdf == 0.0f);
  CHECK(std::isnan(normal_at(std::numeric_limits<float>::quiet_NaN()).cdf));
}
