// Solution of exercise 1: GELU (Hendrycks & Gimpel, arXiv 1606.08415), element by element.
//
//   d(y)/d(x) = Phi(x) + x phi(x)
#include "exercise.h"

#include <cmath>

// x [n] -> y [n]
void gelu_forward(int n, Input x, Output y) {
  for (int i = 0; i < n; ++i) y[i] = x[i] * (1 + std::erf(x[i] / std::sqrt(2.0))) / 2;
}

// x, dy [n]; accumulates into dx [n].
void gelu_backward(int n, Input x, Input dy, Output dx) {
  for (int i = 0; i < n; ++i) {
    const double distribution = (1 + std::erf(x[i] / std::sqrt(2.0))) / 2;
    const double density = std::exp(-x[i] * x[i] / 2) / std::sqrt(2 * M_PI);
    dx[i] += dy[i] * (distribution + x[i] * density);
  }
}
