// The matrix products of engine/cpu/gemm/tiles.h on an emulated tile unit, compiled without and with AVX-512 (as the
// one for AMX is). Their bits are those of the instructions' definition.
#pragma once

#include "engine/kernels.h"

namespace crisp::cpu_emulated {
void gemm_tiles(const GemmCall<float>& call);
}  // namespace crisp::cpu_emulated

namespace crisp::cpu_emulated_avx512 {
void gemm_tiles(const GemmCall<float>& call);
}  // namespace crisp::cpu_emulated_avx512
