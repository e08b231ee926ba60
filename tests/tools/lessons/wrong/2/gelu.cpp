// A wrong answer to gelu. One term of the product rule alone.
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
    dx[i] += dy[i] * distribution;
  }
}
