#include "train/study/distributions.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace crisp {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();

// 1 / (1 + d1 / (1 + d2 / (1 + ...))) of DLMF 8.17.22. Fast where x < (a + 1) / (a + b + 2): about sqrt(max(a, b))
// steps.
double beta_fraction(double a, double b, double x) {
  const auto nonzero = [](double v) { return std::abs(v) < 1e-300 ? 1e-300 : v; };
  double c = 1, d = 1 / nonzero(1 - (a + b) * x / (a + 1)), value = d;
  for (int m = 1; m < 1'000'000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double factor = 1;
    for (const double numerator : {even, odd}) {
      d = 1 / nonzero(1 + numerator * d);
      c = nonzero(1 + numerator / c);
      factor = c * d;
      value *= factor;
    }
    if (std::abs(factor - 1) <= std::numeric_limits<double>::epsilon()) return value;
  }
  return nan;
}

// P(T > t) for t >= 0. Both parts of x + y = 1 are formed without a subtraction.
double upper_tail(double t, double df) {
  const double square = t * t;
  return incomplete_beta(df / 2, 0.5, 1 / (1 + square / df), 1 / (1 + df / square)) / 2;
}

}  // namespace

double incomplete_beta(double a, double b, double x, double y) {
  const bool inside = a > 0 && b > 0 && std::isfinite(a + b) && x >= 0 && x <= 1 && y >= 0 && y <= 1;
  if (!inside) return nan;
  if (x == 0) return 0;
  if (y == 0) return 1;
  const double log_x = x < 0.5 ? std::log(x) : std::log1p(-y);
  const double log_y = y < 0.5 ? std::log(y) : std::log1p(-x);
  const double front = std::exp(a * log_x + b * log_y + std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b));
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, y) / b;
}

double student_t_cdf(double t, double df) {
  if (!(df > 0)) return nan;
  return t < 0 ? upper_tail(-t, df) : 1 - upper_tail(t, df);
}

double student_t_quantile(double p, double df) {
  if (!(p >= 0 && p <= 1 && df > 0 && std::isfinite(df))) return nan;
  if (p == 0 || p == 1) return p == 0 ? -inf : inf;
  if (p == 0.5) return 0;
  const double tail = std::min(p, 1 - p);
  double low = 0, high = 1;
  while (upper_tail(high, df) > tail) {
    low = high;
    high *= 2;
  }
  for (int i = 0; i < 200; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle == low || middle == high) break;
    (upper_tail(middle, df) > tail ? low : high) = middle;
  }
  return p < 0.5 ? -high : high;
}

double noncentral_t_two_tails(double critical, double df, double delta) {
  if (!(critical >= 0 && df > 0 && std::isfinite(delta))) return nan;
  const double square = critical * critical;
  const double x = 1 / (1 + df / square), y = 1 / (1 + square / df);
  const auto tail = [&](double j) { return incomplete_beta(df / 2, j + 0.5, y, x); };
  // Poisson probabilities as multiples of the largest one, outwards from it: none overflows or vanishes.
  const double rate = delta * delta / 2, mode = std::floor(rate);
  double total = 0, sum = 0;
  const auto add = [&](double j, double weight) {
    total += weight;
    sum += weight * tail(j);
  };
  constexpr double negligible = 1e-20;
  double weight = 1;
  for (double j = mode; j >= 0 && weight > negligible; --j) {
    add(j, weight);
    weight *= j / rate;  // at j = 0, where the rate may be 0, the loop ends
  }
  weight = rate / (mode + 1);
  for (double j = mode + 1; weight > negligible; ++j) {
    add(j, weight);
    weight *= rate / (j + 1);
  }
  return sum / total;
}

double half_binomial_cdf(int64_t k, int64_t n) {
  if (n < 0) return nan;
  if (k < 0) return 0;
  if (k >= n) return 1;
  if (k > (n - 1) / 2) return 1 - half_binomial_cdf(n - k - 1, n);
  const int64_t centre = n / 2;
  double weight = 1, half = 0, below = 0;
  for (int64_t i = centre; i >= 0 && weight > 1e-300; --i) {
    half += weight;
    if (i <= k) below += weight;
    weight *= static_cast<double>(i) / static_cast<double>(n - i + 1);
  }
  return below / (n % 2 == 0 ? 2 * half - 1 : 2 * half);
}

}  // namespace crisp
