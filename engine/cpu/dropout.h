// Dropout masks, many elements at a time.
#pragma once

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/simd/simd.h"

namespace crisp::CRISP_ISA {

/// Products of the lower halves of 64-bit lanes; the upper halves are ignored.
CRISP_INLINE Vec<uint64_t> multiply_low(Vec<uint64_t> a, Vec<uint64_t> b) {
#if defined(__AVX512F__)
  // GCC 12 warns about the header that has the form without a mask; this one makes the same instruction.
  return reinterpret_cast<Vec<uint64_t>>(
      _mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<Vec<uint64_t>>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__SSE2__)
  return reinterpret_cast<Vec<uint64_t>>(_mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

/// Blocks that random_words() makes at a time.
constexpr int64_t blocks_at_once = 4 * lanes<uint64_t>;

/// The words of random_block(key, b) for the blocks b of blocks_of(0 .. 3), vectors, one block after the other. Four
/// groups of Philox counters advance side by side, because a round waits for its multiplications.
template <class Blocks>
CRISP_INLINE void random_words(const RandomKey& key, Blocks blocks_of, uint32_t* words) {
  using V = Vec<uint64_t>;
  constexpr int groups = 4, width = lanes<uint64_t>;
  V c0[groups], c1[groups], c2[groups], c3[groups];  // a counter word in the lower half of each lane; above it, garbage
  for (int g = 0; g < groups; ++g) {
    const V block = blocks_of(g);
    c0[g] = block;
    c1[g] = (block >> 32) | (static_cast<uint64_t>(key.stream) << 28);
    c2[g] = broadcast<uint64_t>(key.site);
    c3[g] = broadcast<uint64_t>(key.step);
  }
  const V factor0 = broadcast<uint64_t>(0xD2511F53u), factor1 = broadcast<uint64_t>(0xCD9E8D57u);
  auto key0 = static_cast<uint32_t>(key.seed), key1 = static_cast<uint32_t>(key.seed >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 4
    for (int g = 0; g < groups; ++g) {
      const V product0 = multiply_low(c0[g], factor0), product1 = multiply_low(c2[g], factor1);
      c0[g] = (product1 >> 32) ^ c1[g] ^ uint64_t { key0 };
      c1[g] = product1;
      c2[g] = (product0 >> 32) ^ c3[g] ^ uint64_t { key1 };
      c3[g] = product0;
    }
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  for (int g = 0; g < groups; ++g) {
    const V first_pair = (c0[g] & 0xffffffffu) | (c1[g] << 32), second_pair = (c2[g] & 0xffffffffu) | (c3[g] << 32);
    auto* out = reinterpret_cast<uint64_t*>(words) + 2 * width * g;
    store_interleaved(out, first_pair, second_pair);
  }
}

/// Elements that the buffer of dropout_factors() needs for `count` factors.
constexpr int64_t dropout_room(int64_t count) { return count + 4 * blocks_at_once + 3; }

/// What elements are multiplied with: dropout_factor() where one is kept, 0 where not. Those of `count` blocks of four,
/// one after the other; blocks_of(i) is the vector of the blocks from the i-th on. Whole blocks_at_once are written.
template <class T, class Blocks>
CRISP_INLINE void factors_of_blocks(const Dropout& dropout, int64_t count, Blocks blocks_of, T* factors) {
  const T up = formulas::dropout_factor<T>(dropout.p);
  // keeps(): word >> 8 >= p 2^24, as integers.
  const double scaled = dropout.p * 0x1p24;
  const auto floor = static_cast<int32_t>(scaled);
  const int32_t limit = floor + (static_cast<double>(floor) < scaled ? 1 : 0);
  for (int64_t done = 0; done < count; done += blocks_at_once) {
    alignas(vector_bytes) uint32_t words[4 * blocks_at_once];
    random_words(
        dropout.key, [=](int g) CRISP_INLINED { return blocks_of(done + g * lanes<uint64_t>); }, words);
    T* made = factors + 4 * done;
#pragma omp simd
    for (int64_t i = 0; i < 4 * blocks_at_once; ++i) made[i] = static_cast<int32_t>(words[i] >> 8) >= limit ? up : T(0);
  }
}

/// Those of the elements first .. first+count-1. Returns where in `buffer` they begin: words come in blocks of four,
/// and `first` may lie inside one.
template <class T>
const T* dropout_factors(const Dropout& dropout, int64_t first, int64_t count, T* buffer) {
  const int64_t skip = first % 4;
  const auto block = static_cast<uint64_t>(first) / 4;
  factors_of_blocks(
      dropout, divide_up(skip + count, 4),
      [=](int64_t i) CRISP_INLINED { return first_indices<uint64_t>() + (block + static_cast<uint64_t>(i)); }, buffer);
  return buffer + skip;
}

}  // namespace crisp::CRISP_ISA
