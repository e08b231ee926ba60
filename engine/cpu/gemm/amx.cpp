// The matrix products of tiles.h on AMX. engine/cpu/backend.cpp asks the CPU and the system before it calls this.
//
// Inline assembly rather than intrinsics: with GCC 12 _tile_loadconfig declares only 8 bytes of the configuration as
// its input and _tile_loadd no memory at all, so that stores before them may be dropped or moved. The compiler knows
// nothing of tile registers; `volatile` keeps the statements in their order.
#include "engine/cpu/gemm/tiles.h"

namespace crisp::CRISP_ISA {
namespace {

struct alignas(64) TileConfiguration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfiguration) == 64);
constexpr TileConfiguration eight_full_tiles;

struct Amx {
  // In each parallel region anew: other code on the thread may use AMX, too.
  CRISP_INLINE static void begin() { asm volatile("ldtilecfg %0" : : "m"(eight_full_tiles)); }
  // Also spares the system saving 8 KB at each context switch.
  CRISP_INLINE static void end() { asm volatile("tilerelease"); }

  template <int t>
  CRISP_INLINE static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(t));
  }
  template <int t>
  CRISP_INLINE static void load(const uint32_t* from) {
    using Tile = const uint32_t[tile_dwords];
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2"
                 :
                 : "r"(from), "r"(int64_t{64}), "i"(t), "m"(*reinterpret_cast<Tile*>(from)));
  }
  template <int t>
  CRISP_INLINE static void store(float* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride * 4), "i"(t) : "memory");
  }
  template <int t, int a, int b>
  CRISP_INLINE static void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(t), "i"(a), "i"(b));
  }
};

}  // namespace

void gemm_tiles(const GemmCall<float>& call) { gemm_tiles<Amx>(call); }

}  // namespace crisp::CRISP_ISA
