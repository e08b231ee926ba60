// Stores past the caches, for what a product writes and nobody reads soon: gradients of weights.
#pragma once

#include "engine/cpu/simd/simd.h"
#include "engine/kernels.h"

namespace crisp::CRISP_ISA {

/// Whether c goes past the caches. That its squares are wanted says that it is a weight's gradient, which nobody reads
/// before the optimizer. Its rows have to be aligned to the `bytes` of a store.
template <class T>
CRISP_INLINE bool streams(const GemmCall<T>& g, int bytes) {
  return g.sum_squares && g.ldc * static_cast<int64_t>(sizeof(T)) % bytes == 0 &&
         reinterpret_cast<uintptr_t>(g.c) % static_cast<uintptr_t>(bytes) == 0;
}

/// Stores v, a vector of the instruction set's width or a multiple of it, at p, which is aligned to it, without reading
/// the lines first. Other threads may see it once this one has called end_streaming().
template <class T, class V>
CRISP_INLINE void store_streaming(T* p, const V& v) {
#if defined(__SSE2__)
  for (int i = 0; i < static_cast<int>(sizeof(V)) / vector_bytes; ++i) {
    const auto from = reinterpret_cast<const Vec<int64_t>*>(&v) + i;
    const auto to = reinterpret_cast<Vec<int64_t>*>(p) + i;
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), reinterpret_cast<const __m512i&>(*from));
#elif defined(__AVX2__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<const __m256i&>(*from));
#else
    _mm_stream_si128(reinterpret_cast<__m128i*>(to), reinterpret_cast<const __m128i&>(*from));
#endif
  }
#else
  __builtin_memcpy(p, &v, sizeof v);
#endif
}

CRISP_INLINE void end_streaming() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace crisp::CRISP_ISA
