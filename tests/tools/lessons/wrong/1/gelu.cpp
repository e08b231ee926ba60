// A wrong answer to gelu. The derivative of the tanh approximation.
#include "exercise.h"

#include <cmath>

// x [n] -> y [n]
void gelu_forward(int n, Input x, Output y) {
  for (int i = 0; i < n; ++i) y[i] = x[i] * (1 + std::erf(x[i] / std::sqrt(2.0))) / 2;
}

// x, dy [n]; accumulates into dx [n].
void gelu_backward(int n, Input x, Input dy, Output dx) {
  for (int i = 0; i < n; ++i) {
    const double a = std::sqrt(2 / M_PI), u = a * (x[i] + 0.044715 * x[i] * x[i] * x[i]);
    const double t = std::tanh(u);
    dx[i] += dy[i] * (0.5 * (1 + t) + 0.5 * x[i] * (1 - t * t) * a * (1 + 3 * 0.044715 * x[i] * x[i]));
  }
}
