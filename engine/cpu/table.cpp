#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/tables.h"

namespace crisp::CRISP_ISA {
namespace {

template <class T>
Kernels<T> make_table() {
  Kernels<T> t{};
  fill_elementwise(t);
  fill_reduce(t);
  fill_move(t);
  fill_gemm(t);
  fill_softmax(t);
  fill_layer_norm(t);
  fill_rows(t);
  fill_attention(t);
  fill_attention_backward(t);
  fill_adamw(t);
  return t;
}

}  // namespace

const Kernels<float>& table(float) {
  static const Kernels<float> t = make_table<float>();
  return t;
}

const Kernels<double>& table(double) {
  static const Kernels<double> t = make_table<double>();
  return t;
}

}  // namespace crisp::CRISP_ISA
