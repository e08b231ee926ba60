// Exercise 4: LayerNorm (Ba, Kiros & Hinton, arXiv 1607.06450), row by row.
//
//   m = mean of the row,   r = 1 / sqrt(variance of the row + epsilon),   variance with 1/dim
//   n[j] = (x[j] - m) r
//   y[j] = n[j] weight[j] + bias[j]
//
// To derive: dx, dweight and dbias. weight and bias are easy: each serves all rows. For x, begin with h[j] = dy[j]
// weight[j], the gradient of n[j]. Every x[j] of a row changes every n of the row, in three ways: directly, through m
// and through r. Hence three terms; the last two are means over the row (of what?), because d(m)/d(x[j]) = 1/dim and
// d(r)/d(x[j]) = -r^2 n[j] / dim.
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
    // TODO: for each j of the row, dx[i * dim + j] += ..., dweight[j] += ..., dbias[j] += ...
  }
}
