// The CPU backend's kernel tables, one pair per instruction set, and the products of bf16 numbers that some CPUs have
// beside them. backend.cpp chooses among them at run time.
#pragma once

#include "engine/kernels.h"

namespace crisp {

struct Tables {
  Kernels<float> f32{};
  Kernels<double> f64{};
};

namespace cpu_generic {
const Tables& tables();
}
namespace cpu_avx2 {
const Tables& tables();
}
namespace cpu_avx512 {
const Tables& tables();
}

namespace cpu_avx512_bf16 {
/// bf16 products, for CPUs with AVX-512 BF16.
void gemm_bf16(const GemmCall<float>& call);
}  // namespace cpu_avx512_bf16
namespace cpu_amx {
/// bf16, bf16x3 and bf16x6 products. For CPUs with AMX (amx-tile, amx-bf16) and what cpu_avx512_bf16 needs, in a
/// process that the system has permitted to use tile data.
void gemm_tiles(const GemmCall<float>& call);
}  // namespace cpu_amx

}  // namespace crisp
