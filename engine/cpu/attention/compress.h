// Comparisons as one bit a lane, and lanes stored close together: what picks some elements of a row. For elements of 4
// bytes.
#pragma once

#include "engine/cpu/simd/simd.h"

namespace crisp::CRISP_ISA {

/// The first lane is the lowest bit.
using LaneBits = uint32_t;

CRISP_INLINE int64_t count_lanes(LaneBits bits) { return __builtin_popcount(bits); }

/// The first `count` lanes; all, where it is more than a vector has.
template <class T>
CRISP_INLINE LaneBits first_lanes(int64_t count) {
  return count >= lanes<T> ? (uint32_t{1} << lanes<T>)-1 : (uint32_t{1} << count) - 1;
}

/// The lanes in which a comparison holds.
CRISP_INLINE LaneBits true_lanes(Vec<int32_t> truth) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(truth));
#elif defined(__AVX2__)
  return static_cast<LaneBits>(_mm256_movemask_ps(reinterpret_cast<__m256>(truth)));
#elif defined(__SSE2__)
  return static_cast<LaneBits>(_mm_movemask_ps(reinterpret_cast<__m128>(truth)));
#else
  LaneBits bits = 0;
  for (int i = 0; i < lanes<int32_t>; ++i) bits |= static_cast<LaneBits>(truth[i] & 1) << i;
  return bits;
#endif
}

CRISP_INLINE LaneBits at_least(Vec<int32_t> x, Vec<int32_t> limit) {
#if defined(__AVX512F__)
  return _mm512_cmpge_epi32_mask(reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(limit));
#else
  return true_lanes(x >= limit);
#endif
}
/// NaN is not 0.
CRISP_INLINE LaneBits nonzero(Vec<float> x) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NEQ_UQ);
#else
  return true_lanes(x != 0.0f);
#endif
}

#if defined(__AVX2__) && !defined(__AVX512F__)
namespace detail {
// For each 8 bits: which lanes they are, one after the other, a byte each.
struct CompressTable {
  uint64_t order[256];
  constexpr CompressTable() : order{} {
    for (unsigned bits = 0; bits < 256; ++bits)
      for (unsigned lane = 0, to = 0; lane < 8; ++lane)
        if (bits >> lane & 1) order[bits] |= uint64_t{lane} << 8 * to++;
  }
};
constexpr CompressTable compress_table;
}  // namespace detail
#endif

/// Stores the chosen lanes one after the other. Up to a whole vector is written; what follows the chosen ones is
/// unspecified.
template <class T>
CRISP_INLINE void store_compressed(T* p, Vec<T> v, LaneBits bits) {
  static_assert(sizeof(T) == 4);
#if defined(__AVX512F__)
  store(p, reinterpret_cast<Vec<T>>(
               _mm512_maskz_compress_epi32(static_cast<__mmask16>(bits), reinterpret_cast<__m512i>(v))));
#elif defined(__AVX2__)
  const auto order = _mm_cvtsi64_si128(static_cast<int64_t>(detail::compress_table.order[bits]));
  store(p, reinterpret_cast<Vec<T>>(
               _mm256_permutevar8x32_epi32(reinterpret_cast<__m256i>(v), _mm256_cvtepu8_epi32(order))));
#else
  for (int i = 0, to = 0; i < lanes<T>; ++i) {
    p[to] = v[i];
    to += static_cast<int>(bits >> i & 1);
  }
#endif
}

}  // namespace crisp::CRISP_ISA
