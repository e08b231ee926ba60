// The CPU as a backend: its memory is the host's, its kernels are those of the best instruction set at hand.
#pragma once

#include "engine/backend.h"

namespace crisp {

const Backend& cpu_backend();

/// The instruction set that the CPU kernels of this process use: "generic", "avx2" or "avx512". The best one that the
/// machine has, unless the environment variable CRISP_ISA names a smaller one. Throws UsageError for a larger one.
const char* cpu_instruction_set();
/// What multiplies bf16 numbers on this CPU: "amx" (where amx_usable()), else "avx512_bf16", or "" where nothing does.
const char* cpu_bf16_unit();
/// Whether this process can use AMX: a CPU with amx-tile, amx-bf16 and AVX-512 BF16, a system that permits
/// it, and cpu_instruction_set() "avx512". Then bf16, bf16x3 and bf16x6 products run there.
bool amx_usable();

}  // namespace crisp
