// Vectors of the instruction set's own width, through GCC's vector extensions: arithmetic, comparison and `mask ? a :
// b` are operators of the language.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "engine/inline.h"

namespace crisp::CRISP_ISA {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <class T>
struct VectorTypes {
  typedef T Aligned __attribute__((vector_size(vector_bytes)));
  typedef T Loose __attribute__((vector_size(vector_bytes), aligned(alignof(T)), may_alias));
};
template <class T>
using Vec = typename VectorTypes<T>::Aligned;

/// Elements of a vector.
template <class T>
constexpr int lanes = vector_bytes / static_cast<int>(sizeof(T));

namespace detail {
template <int Size>
struct IntegerOf;
template <>
struct IntegerOf<4> {
  using Type = int32_t;
};
template <>
struct IntegerOf<8> {
  using Type = int64_t;
};
}  // namespace detail

/// The signed integer as wide as T: what comparisons of Vec<T> give, and what shuffles go by.
template <class T>
using Int = typename detail::IntegerOf<sizeof(T)>::Type;

template <class T>
CRISP_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename VectorTypes<T>::Loose*>(p);
}
template <class T>
CRISP_INLINE void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename VectorTypes<T>::Loose*>(p) = v;
}
template <class T>
CRISP_INLINE Vec<T> broadcast(T x) {
  return x - Vec<T>{};  // not +: that would lose the sign of -0
}

/// 0, 1, 2, ..
template <class T>
CRISP_INLINE Vec<T> first_indices() {
  Vec<T> index{};
  for (int i = 0; i < lanes<T>; ++i) index[i] = static_cast<T>(i);
  return index;
}

/// The first `count` elements (at most a vector's), the others 0; memory behind them is not touched.
template <class T>
CRISP_INLINE Vec<T> load_first(const T* p, int64_t count) {
#if defined(__AVX512F__)
  const auto mask = (uint32_t{1} << count) - 1;
  if constexpr (sizeof(T) == 4) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), p);
  } else {
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), p);
  }
#elif defined(__AVX2__)
  const auto mask = reinterpret_cast<__m256i>(first_indices<Int<T>>() < static_cast<Int<T>>(count));
  if constexpr (sizeof(T) == 4) {
    return _mm256_maskload_ps(p, mask);
  } else {
    return _mm256_maskload_pd(p, mask);
  }
#else
  Vec<T> v{};
  for (int i = 0; i < lanes<T>; ++i)
    if (i < count) v[i] = p[i];
  return v;
#endif
}
template <class T>
CRISP_INLINE void store_first(T* p, Vec<T> v, int64_t count) {
#if defined(__AVX512F__)
  const auto mask = (uint32_t{1} << count) - 1;
  if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>(mask), v);
  } else {
    _mm512_mask_storeu_pd(p, static_cast<__mmask8>(mask), v);
  }
#else
  // A whole vector is stored as one; for a part of it AVX2's masked store is slower than this on AMD's CPUs.
  if (count >= lanes<T>) {
    store(p, v);
    return;
  }
  for (int i = 0; i < lanes<T> - 1; ++i)
    if (i < count) p[i] = v[i];
#endif
}

/// The same where Partial; else whole vectors.
template <bool Partial, class T>
CRISP_INLINE Vec<T> load_part(const T* p, int64_t count) {
  if constexpr (Partial) return load_first(p, count);
  return load(p);
}
template <bool Partial, class T>
CRISP_INLINE void store_part(T* p, Vec<T> v, int64_t count) {
  if constexpr (Partial) {
    store_first(p, v, count);
  } else {
    store(p, v);
  }
}

namespace detail {
template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
  using Type = Indices<I...>;
};

// a0 b0 a1 b1 .. of the lower or upper halves.
template <class T, int From, int... I>
CRISP_INLINE Vec<T> interleave(Vec<T> a, Vec<T> b, Indices<I...>) {
  constexpr int n = lanes<T>;
  return __builtin_shufflevector(a, b, (From + I / 2 + I % 2 * n)...);
}
template <class T, int Distance, int... I>
CRISP_INLINE Vec<T> exchanged(Vec<T> v, Indices<I...>) {
  return __builtin_shufflevector(v, v, (I ^ Distance)...);
}

template <class T, int Distance, class F>
CRISP_INLINE Vec<T> fold_lanes(Vec<T> v, F f) {
  if constexpr (Distance > 0) {
    v = f(v, exchanged<T, Distance>(v, typename MakeIndices<lanes<T>>::Type{}));
    return fold_lanes<T, Distance / 2>(v, f);
  } else {
    return v;
  }
}
}  // namespace detail

/// Stores a0 b0 a1 b1 ..
template <class T>
CRISP_INLINE void store_interleaved(T* p, Vec<T> a, Vec<T> b) {
  using All = typename detail::MakeIndices<lanes<T>>::Type;
  store(p, detail::interleave<T, 0>(a, b, All{}));
  store(p + lanes<T>, detail::interleave<T, lanes<T> / 2>(a, b, All{}));
}

/// The sum of all lanes, by halves, in every lane.
template <class T>
CRISP_INLINE Vec<T> sum_of_lanes(Vec<T> v) {
  return detail::fold_lanes<T, lanes<T> / 2>(v, [](Vec<T> a, Vec<T> b) CRISP_INLINED { return a + b; });
}
/// The largest lane in every lane. What it gives is unspecified where a lane is NaN.
template <class T>
CRISP_INLINE Vec<T> max_of_lanes(Vec<T> v) {
  return detail::fold_lanes<T, lanes<T> / 2>(v, [](Vec<T> a, Vec<T> b) CRISP_INLINED { return a > b ? a : b; });
}

/// The larger and the smaller of two numbers, one instruction each. Not for NaN.
CRISP_INLINE Vec<float> larger_of(Vec<float> a, Vec<float> b) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xffff, a, b);  // as multiply_low()
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#elif defined(__SSE2__)
  return _mm_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
CRISP_INLINE Vec<float> smaller_of(Vec<float> a, Vec<float> b) {
#if defined(__AVX512F__)
  return _mm512_maskz_min_ps(0xffff, a, b);
#elif defined(__AVX2__)
  return _mm256_min_ps(a, b);
#elif defined(__SSE2__)
  return _mm_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

/// Transposes a square of lanes x lanes in registers.
template <class T>
CRISP_INLINE void transpose_square(Vec<T> (&rows)[lanes<T>]) {
  using All = typename detail::MakeIndices<lanes<T>>::Type;
  constexpr int half = lanes<T> / 2;
#pragma GCC unroll 4
  for (int stage = 1; stage < lanes<T>; stage *= 2) {
    Vec<T> next[lanes<T>];
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) {
      next[2 * i] = detail::interleave<T, 0>(rows[i], rows[i + half], All{});
      next[2 * i + 1] = detail::interleave<T, half>(rows[i], rows[i + half], All{});
    }
#pragma GCC unroll 16
    for (int i = 0; i < lanes<T>; ++i) rows[i] = next[i];
  }
}

// --- comparisons as one bit a lane, and lanes stored close together (elements of 4 bytes)
// ------------------------------

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
/// NaN is not less than anything.
CRISP_INLINE LaneBits not_less(Vec<float> x, Vec<float> limit) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ);
#else
  return true_lanes(~(x < limit));
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
