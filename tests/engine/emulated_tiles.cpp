// A tile unit in plain code. TDPBF16PS follows the operation that Intel's instruction reference gives: each instruction
// sums the products of the even elements and of the odd elements of a row apart, each from zero and in order, by f32
// fused multiply-add; then their sum is added to the destination. Rounding is to nearest even; subnormal inputs count
// as zero and subnormal results become zero, whatever MXCSR says.
#include "tests/engine/emulated_tiles.h"

#include "engine/cpu/gemm/tiles.h"

namespace crisp::CRISP_ISA {
namespace {

// Subnormal: exponent bits all zero.
CRISP_INLINE float flushed(float x) {
  const auto bits = __builtin_bit_cast(uint32_t, x);
  return bits & 0x7f800000u ? x : __builtin_bit_cast(float, bits & 0x80000000u);
}
CRISP_INLINE float add(float x, float y) { return flushed(flushed(x) + flushed(y)); }
CRISP_INLINE float multiply_add(float x, float y, float sum) {
  return flushed(__builtin_fmaf(flushed(x), flushed(y), flushed(sum)));
}
CRISP_INLINE float even(uint32_t pair) { return __builtin_bit_cast(float, pair << 16); }
CRISP_INLINE float odd(uint32_t pair) { return __builtin_bit_cast(float, pair & 0xffff0000u); }

struct alignas(64) Tile {
  uint32_t dwords[16][16];
};
// Null outside of begin() and end(), so that a forgotten begin() is found.
thread_local Tile* tiles = nullptr;
thread_local Tile storage[8];

struct Emulated {
  static void begin() {
    tiles = storage;
    for (int t = 0; t < 8; ++t) __builtin_memset(&tiles[t], 0, sizeof(Tile));
  }
  static void end() { tiles = nullptr; }
  template <int t>
  static void zero() {
    __builtin_memset(&tiles[t], 0, sizeof(Tile));
  }
  template <int t>
  static void load(const uint32_t* from) {
    __builtin_memcpy(&tiles[t], from, sizeof(Tile));
  }
  template <int t>
  static void store(float* to, int64_t stride) {
    for (int r = 0; r < 16; ++r) __builtin_memcpy(to + r * stride, tiles[t].dwords[r], 64);
  }
  template <int t, int a, int b>
  static void multiply() {
    for (int m = 0; m < 16; ++m) {
      float sums[2][16] = {};
      for (int k = 0; k < 16; ++k) {
        const uint32_t left = tiles[a].dwords[m][k];
        for (int n = 0; n < 16; ++n) {
          const uint32_t right = tiles[b].dwords[k][n];
          sums[0][n] = multiply_add(even(left), even(right), sums[0][n]);
          sums[1][n] = multiply_add(odd(left), odd(right), sums[1][n]);
        }
      }
      for (int n = 0; n < 16; ++n) {
        uint32_t& c = tiles[t].dwords[m][n];
        c = __builtin_bit_cast(uint32_t, add(__builtin_bit_cast(float, c), add(sums[0][n], sums[1][n])));
      }
    }
  }
};

}  // namespace

void gemm_tiles(const GemmCall<float>& call) { gemm_tiles<Emulated>(call); }

void round_to_bf16(int64_t n, const float* x, uint32_t* neighbours, uint32_t* pairs) {
  for (int64_t i = 0; i < n; i += 32) {
    V16f first, second;
    V16u out;
    load(first, x + i);
    load(second, x + i + 16);
    bf16_neighbours(first, second, out);
    store(neighbours + i / 2, out);
    bf16_pairs(first, second, out);
    store(pairs + i / 2, out);
  }
}

}  // namespace crisp::CRISP_ISA
