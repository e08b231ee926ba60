// Exercise 1: GELU (Hendrycks & Gimpel, arXiv 1606.08415), element by element.
//
//   y = x Phi(x),   Phi(x) = (1 + erf(x / sqrt(2))) / 2
//
// Phi is the distribution function of the standard normal distribution. Its derivative is the density
//
//   phi(x) = e^(-x^2 / 2) / sqrt(2 pi).
//
// To derive: d(y)/d(x), by the product rule; then dx by the chain rule, from that and the gradient dy that arrives.
#include "exercise.h"

#include <cmath>

// x [n] -> y [n]
void gelu_forward(int n, Input x, Output y) {
  for (int i = 0; i < n; ++i) y[i] = x[i] * (1 + std::erf(x[i] / std::sqrt(2.0))) / 2;
}

// x, dy [n]; accumulates into dx [n].
void gelu_backward(int n, Input x, Input dy, Output dx) {
  // TODO: for each i, dx[i] += ...
}
