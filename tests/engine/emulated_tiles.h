// The matrix products of engine/cpu/gemm/tiles.h on an emulated tile unit, compiled without vector instructions and
// with AVX-512 BF16 (as the one for AMX is). Their bits are those of the instructions' definition.
#pragma once

#include "engine/kernels.h"

namespace crisp::cpu_emulated {
void gemm_tiles(const GemmCall<float>& call);
/// engine/cpu/gemm/bf16_round.h over n numbers, a multiple of 32: dwords of neighbours, and, of each 32, of i and 16 +
/// i.
void round_to_bf16(int64_t n, const float* x, uint32_t* neighbours, uint32_t* pairs);
}  // namespace crisp::cpu_emulated

namespace crisp::cpu_emulated_avx512_bf16 {
void gemm_tiles(const GemmCall<float>& call);
void round_to_bf16(int64_t n, const float* x, uint32_t* neighbours, uint32_t* pairs);
}  // namespace crisp::cpu_emulated_avx512_bf16
