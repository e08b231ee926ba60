// f32 numbers rounded to bf16, two to a dword, by AVX-512 BF16's instruction or by integer arithmetic with the same
// bits: nearest even; NaN stays NaN, with its first bit of fraction set; finite numbers beyond the largest bf16 become
// infinite; subnormal numbers become zeros of their sign.
#pragma once

#include "engine/bit_cast.h"
#include "engine/cpu/simd/simd.h"

namespace crisp::CRISP_ISA {

using V16f = float __attribute__((vector_size(64)));
using V16u = uint32_t __attribute__((vector_size(64)));

/// One number.
CRISP_INLINE uint32_t bf16_bits(float x) {
  const auto bits = bit_cast<uint32_t>(x);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (bits >> 16) | 0x40u;
  if (magnitude < 0x00800000u) return (bits >> 16) & 0x8000u;
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

/// Of 32 numbers that follow each other.
CRISP_INLINE void even_and_odd(const V16f& first, const V16f& second, V16f& even, V16f& odd) {
  even = __builtin_shufflevector(first, second, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  odd = __builtin_shufflevector(first, second, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

#if defined(__AVX512BF16__)

// Element i of the first half beside element i of the second.
typedef uint16_t Halves __attribute__((vector_size(64)));
constexpr Halves side_by_side = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};

/// Pairs of neighbours, of 32 numbers that follow each other.
CRISP_INLINE void bf16_neighbours(const V16f& first, const V16f& second, V16u& pairs) {
  pairs = reinterpret_cast<V16u>(
      _mm512_cvtne2ps_pbh(reinterpret_cast<const __m512&>(second), reinterpret_cast<const __m512&>(first)));
}
/// Pairs of low[i] and high[i].
CRISP_INLINE void bf16_pairs(const V16f& low, const V16f& high, V16u& pairs) {
  bf16_neighbours(low, high, pairs);
  pairs = reinterpret_cast<V16u>(
      _mm512_permutexvar_epi16(reinterpret_cast<__m512i>(side_by_side), reinterpret_cast<__m512i>(pairs)));
}

#else

namespace detail {
// In the upper halves. The rounding is an addition, which could carry a NaN over into a number.
CRISP_INLINE void round_to_bf16(const V16f& x, V16u& out) {
  const V16u bits = reinterpret_cast<V16u>(x), magnitude = bits & 0x7fffffffu;
  const V16u rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const V16u normal = magnitude < 0x00800000u ? bits & 0x80000000u : rounded;
  out = (x == x ? normal : (bits | 0x00400000u)) & 0xffff0000u;
}
}  // namespace detail

CRISP_INLINE void bf16_pairs(const V16f& low, const V16f& high, V16u& pairs) {
  V16u upper;
  detail::round_to_bf16(low, pairs);
  detail::round_to_bf16(high, upper);
  pairs = (pairs >> 16) | upper;
}
CRISP_INLINE void bf16_neighbours(const V16f& first, const V16f& second, V16u& pairs) {
  V16f even, odd;
  even_and_odd(first, second, even, odd);
  bf16_pairs(even, odd, pairs);
}

#endif

}  // namespace crisp::CRISP_ISA
