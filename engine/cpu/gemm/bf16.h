// The bf16 product of CPUs with AVX-512 BF16; engine/cpu/backend.cpp calls it where there is one.
#pragma once

#include "engine/kernels.h"

namespace crisp::cpu_avx512_bf16 {
void gemm_bf16(const GemmCall<float>& call);
}
