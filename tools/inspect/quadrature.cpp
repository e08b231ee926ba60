#include "tools/inspect/quadrature.h"

#include <cmath>
#include <numbers>

#include "engine/fail.h"

namespace crisp::inspect {
namespace {

struct Legendre {
  double value, derivative;
};

// P_n and its derivative at x in (-1, 1), by k P_k = (2k - 1) x P_(k-1) - (k - 1) P_(k-2).
Legendre legendre(int64_t n, double x) {
  double before = 1, value = x;
  for (int64_t k = 2; k <= n; ++k) {
    const auto d = static_cast<double>(k);
    const double next = ((2 * d - 1) * x * value - (d - 1) * before) / d;
    before = value;
    value = next;
  }
  return {value, static_cast<double>(n) * (x * value - before) / ((x - 1) * (x + 1))};
}

}  // namespace

Quadrature gauss_legendre(int64_t n) {
  if (n < 1) fail("gauss_legendre: {} points", n);
  Quadrature rule{std::vector<double>(static_cast<size_t>(n)), std::vector<double>(static_cast<size_t>(n))};
  // The roots of P_n lie symmetrically: those above 0, from the largest on.
  for (int64_t i = 0; i < (n + 1) / 2; ++i) {
    // Tricomi's first guess is good to O(1/n^3), from where Newton's steps square the error.
    double x = std::cos(std::numbers::pi * (static_cast<double>(i) + 0.75) / (static_cast<double>(n) + 0.5));
    for (int step = 0; step < 20; ++step) {
      const Legendre p = legendre(n, x);
      const double correction = p.value / p.derivative;
      x -= correction;
      if (std::abs(correction) < 1e-15) break;
    }
    if (2 * i + 1 == n) x = 0;
    const double slope = legendre(n, x).derivative, weight = 1 / ((1 - x) * (1 + x) * slope * slope);
    const auto low = static_cast<size_t>(i), high = static_cast<size_t>(n - 1 - i);
    rule.points[low] = (1 - x) / 2;
    rule.points[high] = (1 + x) / 2;
    rule.weights[low] = rule.weights[high] = weight;
  }
  return rule;
}

}  // namespace crisp::inspect
