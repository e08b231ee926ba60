// What follows a matrix product, by kernels of our own: what cublasLt cannot add to it.
#pragma once

#include <cstdint>

#include "engine/kernels.h"

#ifndef CRISP_CUDA_NAMESPACE
#define CRISP_CUDA_NAMESPACE cuda
#endif

namespace crisp::CRISP_CUDA_NAMESPACE {

/// What is left to do for a call, all but its sum of squares, in one launch at most. `has_product`: c holds the sum of
/// products and beta c; else there are no products, and c is as it was before. `has_bias`: c holds the bias, too. For
/// T = float and double.
template <class T>
void finish_product(const GemmCall<T>& g, bool has_product, bool has_bias);

/// Kernels::column_sum: one launch or two. For T = float and double.
template <class T>
void column_sum(int64_t rows, int64_t cols, const T* x, int64_t x_stride, T* out, double beta);

/// Matrices [rows, cols] of a batch, `stride` elements from one to the next.
template <class T>
struct Matrices {
  int64_t batch, rows, cols;
  const T* x;
  int64_t stride;
};
/// *out = the sum of squares of all elements, in f64. A row of zeros changes no bit of it. Two launches. For T = float
/// and double.
template <class T>
void sum_squares(const Matrices<T>& matrices, double* out);
/// Kernels::sum_squares: two launches for as many matrices as DistilBERT has parameters.
template <class T>
void sum_squares(int64_t count, const SquaresOf<T>* matrices);

}  // namespace crisp::CRISP_CUDA_NAMESPACE
