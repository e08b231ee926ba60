// Points and weights of an integral over [0, 1].
#pragma once

#include <cstdint>
#include <vector>

namespace crisp::inspect {

struct Quadrature {
  std::vector<double> points;   // in (0, 1), increasing
  std::vector<double> weights;  // their sum is 1
};

/// Gauss and Legendre's rule of n points, exact for polynomials of degree 2n - 1. n >= 1; else Error.
Quadrature gauss_legendre(int64_t n);

}  // namespace crisp::inspect
