// A wrong answer to layer_norm. Treats mean and variance as constants.
#include "exercise.h"

#include <cmath>

// x [rows, dim], weight and bias [dim] -> y [rows, dim], and for the backward function m and r of each row: mean and
// inverse [rows]
void layer_norm_forward(int rows, int dim, Input x, Input weight, Input bias, double epsilon, Output y, Output mean,
                        Output inverse) {
  for (int i = 0; i < rows; ++i) {
    double sum = 0;
    for (int j = 0; j < dim; ++j) sum += x[i * dim + j];
    const double m = sum / dim;
    double squares = 0;
    for (int j = 0; j < dim; ++j) squares += (x[i * dim + j] - m) * (x[i * dim + j] - m);
    const double r = 1 / std::sqrt(squares / dim + epsilon);
    for (int j = 0; j < dim; ++j) y[i * dim + j] = (x[i * dim + j] - m) * r * weight[j] + bias[j];
    mean[i] = m;
    inverse[i] = r;
  }
}

// dy [rows, dim]; accumulates into dx [rows, dim], dweight and dbias [dim].
void layer_norm_backward(int rows, int dim, Input x, Input weight, Input mean, Input inverse, Input dy, Output dx,
                         Output dweight, Output dbias) {
  for (int i = 0; i < rows; ++i) {
    const auto normalised = [&](int j) { return (x[i * dim + j] - mean[i]) * inverse[i]; };
    double mean_h = 0, mean_hn = 0;
    for (int j = 0; j < dim; ++j) {
      const double h = dy[i * dim + j] * weight[j];
      mean_h += h / dim;
      mean_hn += h * normalised(j) / dim;
    }
    for (int j = 0; j < dim; ++j) {
      const double h = dy[i * dim + j] * weight[j];
      dx[i * dim + j] += inverse[i] * h;
      dweight[j] += dy[i * dim + j] * normalised(j);
      dbias[j] += dy[i * dim + j];
    }
  }
}
