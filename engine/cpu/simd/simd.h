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
  return detail::fold_lanes<T, lanes<T> / 2>(
      v, [](Vec<T> a, Vec<T> b) __attribute__((always_inline)) { return a + b; });
}
/// The largest lane in every lane. What it gives is unspecified where a lane is NaN.
template <class T>
CRISP_INLINE Vec<T> max_of_lanes(Vec<T> v) {
  return detail::fold_lanes<T, lanes<T> / 2>(
      v, [](Vec<T> a, Vec<T> b) __attribute__((always_inline)) { return a > b ? a : b; });
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

}  // namespace crisp::CRISP_ISA
