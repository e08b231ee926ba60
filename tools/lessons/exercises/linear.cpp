// Exercise 2: a linear layer.
//
//   y = x W' + b,   that is   y[i, o] = sum over k of x[i, k] weight[o, k] + bias[o]
//
// Rows of x are the examples. A row of the weight belongs to one output, as in PyTorch's Linear.
//
// To derive: for one loss L with dy[i, o] = dL/dy[i, o] given,
//   dL/dx[i, k],   dL/dweight[o, k],   dL/dbias[o].
// Ask of each element of x, weight and bias: in which elements of y does it occur, and with which factor? The sum runs
// over these. (As products of matrices these are dy W, dy' x and the column sums of dy: which index disappears?)
#include "exercise.h"

// x [rows, in], weight [out, in], bias [out] -> y [rows, out]
void linear_forward(int rows, int in, int out, Input x, Input weight, Input bias, Output y) {
  // TODO: y[i * out + o] = ...
}

// dy [rows, out]; accumulates into dx [rows, in], dweight [out, in] and dbias [out].
void linear_backward(int rows, int in, int out, Input x, Input weight, Input dy, Output dx, Output dweight,
                     Output dbias) {
  // TODO: dx[...] += ..., dweight[...] += ..., dbias[...] += ...
}
