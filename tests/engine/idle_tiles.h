// The matrix products of engine/cpu/gemm/tiles.h on a tile unit that does nothing but store zeros, compiled as those
// for AMX are: what is left is the work around the tile instructions.
#pragma once

#include "engine/kernels.h"

namespace crisp::cpu_idle {
void gemm_tiles(const GemmCall<float>& call);
}  // namespace crisp::cpu_idle
