#include "engine/cpu/cpu_kernels.h"

namespace crisp::CRISP_ISA {

const Tables& tables() {
  static const Tables filled = [] {
    Tables made;
    Fill* const all[] = {fill_elementwise, fill_reduce,     fill_move,      fill_gemm,
                         fill_softmax,     fill_layer_norm, fill_attention, fill_attention_backward,
                         fill_adamw};
    for (Fill* const fill : all) fill(made);
    return made;
  }();
  return filled;
}

}  // namespace crisp::CRISP_ISA
