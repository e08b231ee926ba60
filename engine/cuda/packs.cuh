// Several neighbouring elements at a time: one access to memory of 16 bytes or more, and one block of random words.
#pragma once

#include <initializer_list>

#include "engine/cuda/kernels.cuh"

namespace crisp::CRISP_CUDA_NAMESPACE {

/// `width` neighbouring elements; packs of 4 lie at multiples of 16 bytes.
template <class T, int width>
struct [[gnu::may_alias]] alignas(width == 1 ? sizeof(T) : 16) Pack {
  T v[width];
};
template <int width, class T>
__device__ __forceinline__ Pack<T, width> load(const T* p) {
  return *reinterpret_cast<const Pack<T, width>*>(p);
}
template <class T, int width>
__device__ __forceinline__ void store(T* p, const Pack<T, width>& pack) {
  *reinterpret_cast<Pack<T, width>*>(p) = pack;
}

/// put() for each element.
template <class T, int width>
__device__ __forceinline__ void put_pack(T* p, Pack<T, width> pack, double beta) {
  if (beta != 0) {
    const Pack<T, width> old = load<width>(p);
#pragma unroll
    for (int i = 0; i < width; ++i) pack.v[i] = old.v[i] + pack.v[i];
  }
  store(p, pack);
}

/// Whether all pointers (null, too) are at multiples of 16 bytes.
inline bool are_aligned(std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return false;
  return true;
}

/// What the elements element .. element + width - 1 are multiplied with; `element` is a multiple of width.
template <class T, int width>
__device__ __forceinline__ Pack<T, width> dropout_factors(const Dropout& dropout, int64_t element) {
  Pack<T, width> factors;
  if (!(dropout.p > 0)) {
#pragma unroll
    for (T& f : factors.v) f = T(1);
    return factors;
  }
  const T up = formulas::dropout_factor<T>(dropout.p);
  const auto words = random_block(dropout.key, static_cast<uint64_t>(element) / 4);
  if constexpr (width == 4) {
#pragma unroll
    for (int i = 0; i < 4; ++i) factors.v[i] = keeps(words[static_cast<size_t>(i)], dropout.p) ? up : T(0);
  } else {
    const int64_t i = element % 4;  // an index would send the words through memory
    const uint32_t word = i == 0 ? words[0] : i == 1 ? words[1] : i == 2 ? words[2] : words[3];
    factors.v[0] = keeps(word, dropout.p) ? up : T(0);
  }
  return factors;
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
