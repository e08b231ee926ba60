// The CPU backend's kernel tables, one pair per instruction set. backend.cpp chooses among them at run time.
#pragma once

#include "engine/kernels.h"

#define CRISP_DECLARE_TABLES(isa)       \
  namespace crisp::isa {                \
  const Kernels<float>& table(float);   \
  const Kernels<double>& table(double); \
  }

CRISP_DECLARE_TABLES(cpu_generic)
CRISP_DECLARE_TABLES(cpu_avx2)
CRISP_DECLARE_TABLES(cpu_avx512)
#undef CRISP_DECLARE_TABLES

namespace crisp::cpu_amx {
/// bf16, bf16x3 and bf16x6 products. For CPUs with AMX (amx-tile, amx-bf16) and what cpu_avx512 needs, in a process
/// that the system has permitted to use tile data.
void gemm_tiles(const GemmCall<float>& call);
}  // namespace crisp::cpu_amx
