// What the kernels of matrix products need not know: batches, and the leading dimensions that a call leaves out.
#pragma once

#include "engine/cpu/cpu_kernels.h"

namespace crisp::CRISP_ISA {

/// f(product) for each product of the batch, in order: a call of its own, with its leading dimensions. Not for one
/// without elements.
template <class T, class F>
[[gnu::always_inline]] inline void for_products(const GemmCall<T>& call, F f) {
  GemmCall<T> product = call;
  product.batch = 1;
  if (call.lda == 0) product.lda = call.trans_a ? call.m : call.k;
  if (call.ldb == 0) product.ldb = call.trans_b ? call.k : call.n;
  if (call.ldc == 0) product.ldc = call.n;
  double sum = 0, squares = 0;
  if (call.sum_squares) product.sum_squares = &squares;
  const int64_t products = call.m > 0 && call.n > 0 ? call.batch : 0;
  for (int64_t i = 0; i < products; ++i) {
    product.a = call.a + i * call.stride_a;
    product.b = call.b + i * call.stride_b;
    product.c = call.c + i * call.stride_c;
    if (call.gelu_out) product.gelu_out = call.gelu_out + i * call.stride_c;
    f(static_cast<const GemmCall<T>&>(product));
    sum += squares;
  }
  if (call.sum_squares) *call.sum_squares = sum;
}

}  // namespace crisp::CRISP_ISA
