// f32 numbers as sums of one, two or three bf16 numbers, packed into tiles for matrix units that multiply pairs of bf16
// (AMX's TDPBF16PS).
//
// A tile is 1 KB: 16 rows of 16 dwords, and a dword holds two numbers that follow each other along k, the first in its
// lower half. The left operand's tile has a row per row of a and a column per pair; the right operand's has a row per
// pair and a column per column of b. Each is the other's transpose, as a matrix of dwords.
#pragma once

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/gemm/bf16_round.h"
#include "engine/cpu/simd/math.h"

namespace crisp::CRISP_ISA {

constexpr int64_t tile_rows = 16;
constexpr int64_t tile_depth = 32;                 // numbers along k
constexpr int64_t tile_dwords = tile_rows * 16;    // of a tile
constexpr int64_t block_size = 32;                 // rows or columns of a block: two tiles
constexpr int64_t block_dwords = 2 * tile_dwords;  // of a block, per part and step of tile_depth
constexpr uint32_t upper_half = 0xffff0000u;       // of a dword: where an f32 number keeps its bf16 part
constexpr uint32_t half_step = 0x8000u;            // half the spacing of bf16 numbers
constexpr float largest_bf16 = 3.38953139e38f;     // 0x7f7f0000

CRISP_INLINE void load(V16f& x, const float* from) { __builtin_memcpy(&x, from, sizeof x); }
CRISP_INLINE void load(V16u& x, const uint32_t* from) { __builtin_memcpy(&x, from, sizeof x); }
CRISP_INLINE void store(float* to, const V16f& x) { __builtin_memcpy(to, &x, sizeof x); }
CRISP_INLINE void store(uint32_t* to, const V16u& x) { __builtin_memcpy(to, &x, sizeof x); }

// The first part of x, and what it leaves.
CRISP_INLINE void split_first(const V16f& x, V16u& part, V16f& rest) {
  const V16f limit = largest_bf16 - V16f{};
  const V16f below = limit < x ? limit : x;
  const V16f limited = below < -limit ? -limit : below;
  part = (reinterpret_cast<V16u>(limited) + half_step) & upper_half;
  rest = x - reinterpret_cast<V16f>(part);
}
// The second of three.
CRISP_INLINE void split_next(V16f& rest, V16u& part) {
  part = (reinterpret_cast<V16u>(rest) + half_step) & upper_half;
  rest -= reinterpret_cast<V16f>(part);
}

/// Pairs of bf16 numbers, low[i] below high[i], whose sum over the parts is the pair of numbers given: rounded to
/// nearest even (as bf16_round.h says) where there is one; within 2^-17 |x| (down to about 2^-109) where there are two;
/// exactly x where there are three (down to about 2^-102). Below that, the last are subnormal: 0 to the matrix unit.
///
/// - A part that is followed by another may round ties either way, as the rest is taken from what it became.
/// - Finite numbers beyond the largest bf16 must not become infinite: the first part stops at it.
/// - So it does for an infinite x; the rest is infinite then, and a later part infinite or NaN.
/// - A NaN may be lost in the first parts; but the rest stays NaN, and the last part keeps it: by the rounding, or
///   because it is cut off and NaNs that come from a subtraction are quiet (their first bit of fraction is set).
///
/// The last parts of both operands meet the first part of the other in a product, so that an operand that is not finite
/// makes every product with it not finite. (Which of infinity and NaN comes out may differ from f32's.)
template <int Parts>
CRISP_INLINE void split(const V16f& low, const V16f& high, V16u (&pairs)[Parts]) {
  if constexpr (Parts == 1) {
    bf16_pairs(low, high, pairs[0]);
  } else {
    V16f rests[2];
    V16u part[2];
    split_first(low, part[0], rests[0]);
    split_first(high, part[1], rests[1]);
    pairs[0] = (part[0] >> 16) | part[1];
    if constexpr (Parts == 2) {
      bf16_pairs(rests[0], rests[1], pairs[1]);
    } else {
      split_next(rests[0], part[0]);
      split_next(rests[1], part[1]);
      pairs[1] = (part[0] >> 16) | part[1];
      pairs[2] = (reinterpret_cast<V16u>(rests[0]) >> 16) | (reinterpret_cast<V16u>(rests[1]) & upper_half);
    }
  }
}
/// The same for pairs of neighbours, of 32 numbers that follow each other.
template <int Parts>
CRISP_INLINE void split_neighbours(const V16f& first, const V16f& second, V16u (&pairs)[Parts]) {
  if constexpr (Parts == 1) {
    bf16_neighbours(first, second, pairs[0]);
  } else {
    V16f even, odd;
    even_and_odd(first, second, even, odd);
    split(even, odd, pairs);
  }
}

/// The transpose of a 16 by 16 matrix of dwords. Interleaving rows i and i + 8 into rows 2i and 2i + 1 rotates the
/// eight bits of (row, column) by one; four times exchanges row and column.
CRISP_INLINE void transpose_tile(const uint32_t* in, uint32_t* out) {
  V16u row[16], next[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) load(row[i], in + i * 16);
#pragma GCC unroll 4
  for (int turn = 0; turn < 4; ++turn) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      next[2 * i] = __builtin_shufflevector(row[i], row[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      next[2 * i + 1] =
          __builtin_shufflevector(row[i], row[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) row[i] = next[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) store(out + i * 16, row[i]);
}

enum class Side : uint8_t { left, right };

/// A matrix seen as `count` vectors along k: element k of vector i at x[i * stride + k] if along_k, else at
/// x[k * stride + i].
struct Vectors {
  const float* x;
  int64_t stride;
  bool along_k;
  CRISP_INLINE const float* at(int64_t i, int64_t k) const { return x + (along_k ? i * stride + k : k * stride + i); }
};

// Asks for the line `ahead` numbers from p, where no pointer may point if that is past the end.
CRISP_INLINE void prefetch_ahead(const float* p, int64_t ahead) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p) + static_cast<uintptr_t>(ahead) * 4),
                     0, 2);
}

/// A tile of a block, all parts: 16 vectors, 32 numbers each, from x on. Part p goes to out + p * block_dwords. Asks
/// for the tile that lies `ahead` numbers further.
template <int Parts, Side side, bool along_k>
CRISP_INLINE void pack_tile(const float* x, int64_t stride, int64_t ahead, uint32_t* out) {
  constexpr bool transposed = along_k != (side == Side::left);
  alignas(64) uint32_t staged[transposed ? Parts * tile_dwords : 1];
  uint32_t* const to = transposed ? staged : out;
  constexpr int64_t distance = transposed ? tile_dwords : block_dwords;
  for (int64_t r = 0; r < 16; ++r) {
    // Along k row r of the tile is vector r, else pair r.
    const float* const from = along_k ? x + r * stride : x + 2 * r * stride;
    const float* const next = along_k ? from + 16 : from + stride;
    prefetch_ahead(from, ahead);
    prefetch_ahead(next, ahead);
    V16f first, second;
    load(first, from);
    load(second, next);
    V16u pairs[Parts];
    if constexpr (along_k)
      split_neighbours(first, second, pairs);
    else
      split(first, second, pairs);
#pragma GCC unroll 3
    for (int p = 0; p < Parts; ++p) store(to + p * distance + r * 16, pairs[p]);
  }
  if constexpr (transposed) {
    for (int p = 0; p < Parts; ++p) transpose_tile(staged + p * tile_dwords, out + p * block_dwords);
  }
}

/// Packs vectors i .. i + count (at most block_size) from k to k + depth: for each step of 32 along k and each part,
/// the two tiles of the block. Missing vectors and numbers are zeros. Where another block is packed `next`, its lines
/// are asked for meanwhile: they come slowly, and this one's are at hand.
template <int Parts, Side side, bool along_k>
void pack_block_from(const Vectors& v, int64_t i, int64_t count, int64_t k, int64_t depth, uint32_t* out, bool next) {
  const int64_t steps = divide_up(depth, tile_depth);
  const int64_t ahead = next ? block_size * (along_k ? v.stride : 1) : 0;
  for (int64_t t = 0; t < 2 * steps; ++t) {
    // Vectors along k are read to their end before the next 16, so that fewer streams of memory are open; of the
    // others, two tiles share each row.
    const int64_t half = along_k ? t / steps : t % 2, step = along_k ? t % steps : t / 2;
    const int64_t vectors = min_of(tile_rows, max_of(0, count - half * tile_rows));
    const int64_t numbers = min_of(tile_depth, depth - step * tile_depth);
    const float* x = v.at(i + half * tile_rows, k + step * tile_depth);
    uint32_t* to = out + step * Parts * block_dwords + half * tile_dwords;
    if (vectors == tile_rows && numbers == tile_depth) {
      pack_tile<Parts, side, along_k>(x, v.stride, ahead, to);
      continue;
    }
    alignas(64) float padded[tile_rows * tile_depth] = {};
    constexpr int64_t stride = along_k ? tile_depth : tile_rows;
    const int64_t rows = along_k ? vectors : numbers, cols = along_k ? numbers : vectors;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) padded[r * stride + c] = x[r * v.stride + c];
    pack_tile<Parts, side, along_k>(padded, stride, 0, to);
  }
}

template <int Parts, Side side>
CRISP_INLINE void pack_block(const Vectors& v, int64_t i, int64_t count, int64_t k, int64_t depth, uint32_t* out,
                             bool next) {
  if (v.along_k)
    pack_block_from<Parts, side, true>(v, i, count, k, depth, out, next);
  else
    pack_block_from<Parts, side, false>(v, i, count, k, depth, out, next);
}

}  // namespace crisp::CRISP_ISA
