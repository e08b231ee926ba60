#include "tests/engine/idle_tiles.h"

#include "engine/cpu/gemm/tiles.h"

namespace crisp::CRISP_ISA {
namespace {

// Nothing is read from packed operands, and none of it may be left out for that.
struct Idle {
  static void begin() {}
  static void end() {}
  template <int t>
  CRISP_INLINE static void zero() {}
  template <int t>
  CRISP_INLINE static void load(const uint32_t* from) {
    asm volatile("" : : "r"(from) : "memory");
  }
  template <int t>
  CRISP_INLINE static void store(float* to, int64_t stride) {
    const V16f zeros{};
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) crisp::CRISP_ISA::store(to + r * stride, zeros);
    asm volatile("" : : "r"(to) : "memory");
  }
  template <int t, int a, int b>
  CRISP_INLINE static void multiply() {}
};

}  // namespace

void gemm_tiles(const GemmCall<float>& call) { gemm_tiles<Idle>(call); }

}  // namespace crisp::CRISP_ISA
