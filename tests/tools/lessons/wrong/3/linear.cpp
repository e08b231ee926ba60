// A wrong answer to linear. dbias is that of the last row, and what was there is gone.
#include "exercise.h"

// x [rows, in], weight [out, in], bias [out] -> y [rows, out]
void linear_forward(int rows, int in, int out, Input x, Input weight, Input bias, Output y) {
  for (int i = 0; i < rows; ++i) {
    for (int o = 0; o < out; ++o) {
      double sum = bias[o];
      for (int k = 0; k < in; ++k) sum += x[i * in + k] * weight[o * in + k];
      y[i * out + o] = sum;
    }
  }
}

// dy [rows, out]; accumulates into dx [rows, in], dweight [out, in] and dbias [out].
void linear_backward(int rows, int in, int out, Input x, Input weight, Input dy, Output dx, Output dweight,
                     Output dbias) {
  for (int i = 0; i < rows; ++i) {
    for (int o = 0; o < out; ++o) {
      const double g = dy[i * out + o];
      dbias[o] = g;
      for (int k = 0; k < in; ++k) {
        dx[i * in + k] += g * weight[o * in + k];
        dweight[o * in + k] += g * x[i * in + k];
      }
    }
  }
}
