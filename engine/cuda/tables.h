// How each kernel file puts its functions into the backend's tables.
#pragma once

#include "engine/kernels.h"

#ifndef CRISP_CUDA_NAMESPACE
#define CRISP_CUDA_NAMESPACE cuda
#endif

namespace crisp::CRISP_CUDA_NAMESPACE {

struct Tables {
  Kernels<float> f32{};
  Kernels<double> f64{};
};

using Fill = void(Tables& tables);
Fill fill_elementwise, fill_reduce, fill_move, fill_gemm, fill_softmax, fill_layer_norm, fill_attention,
    fill_attention_backward, fill_adamw;

/// f(table) for both.
template <class F>
void for_types(Tables& tables, F f) {
  f(tables.f32);
  f(tables.f64);
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
