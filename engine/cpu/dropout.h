// Dropout masks, many elements at a time. The words are those of random_block() (engine/random.h); here sixteen Philox
// blocks advance side by side, so that the compiler turns the rounds into vector instructions.
#pragma once

#include "engine/cpu/cpu_kernels.h"

namespace crisp::CRISP_ISA {

/// What the elements first .. first+count-1 are multiplied with: 1 / (1 - p) where element e is kept, 0 where not.
/// `factors` needs room for count elements.
template <class T>
void dropout_factors(const Dropout& dropout, int64_t first, int64_t count, T* factors) {
  constexpr int lanes = 16;
  const T up = static_cast<T>(1 / (1 - dropout.p));
  // keeps(): word >> 8 >= p 2^24, as integers.
  const double scaled = dropout.p * 0x1p24;
  const auto floor = static_cast<uint32_t>(scaled);
  const uint32_t limit = floor + (static_cast<double>(floor) < scaled ? 1u : 0u);
  const RandomKey& key = dropout.key;
  const uint32_t stream = static_cast<uint32_t>(key.stream) << 28;

  int64_t done = 0;
  for (uint64_t block = static_cast<uint64_t>(first) / 4; done < count; block += lanes) {
    uint32_t words[4][lanes];
#pragma omp simd
    for (int i = 0; i < lanes; ++i) {
      const uint64_t b = block + static_cast<uint64_t>(i);
      auto c0 = static_cast<uint32_t>(b), c1 = static_cast<uint32_t>(b >> 32) | stream, c2 = key.site, c3 = key.step;
      auto key0 = static_cast<uint32_t>(key.seed), key1 = static_cast<uint32_t>(key.seed >> 32);
#pragma GCC unroll 10
      for (int round = 0; round < 10; ++round) {
        const uint64_t product0 = uint64_t{0xD2511F53u} * c0, product1 = uint64_t{0xCD9E8D57u} * c2;
        c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ key0;
        c1 = static_cast<uint32_t>(product1);
        c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ key1;
        c3 = static_cast<uint32_t>(product0);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
      }
      words[0][i] = c0;
      words[1][i] = c1;
      words[2][i] = c2;
      words[3][i] = c3;
    }
    // Only the first group may start inside a block, only the last may end early: both go through a buffer.
    const int64_t skip = done == 0 ? first % 4 : 0;
    const bool whole = skip == 0 && count - done >= 4 * lanes;
    T buffer[4 * lanes];
    T* made = whole ? factors + done : buffer;
#pragma omp simd
    for (int i = 0; i < lanes; ++i) {
      made[4 * i] = words[0][i] >> 8 >= limit ? up : T(0);
      made[4 * i + 1] = words[1][i] >> 8 >= limit ? up : T(0);
      made[4 * i + 2] = words[2][i] >> 8 >= limit ? up : T(0);
      made[4 * i + 3] = words[3][i] >> 8 >= limit ? up : T(0);
    }
    if (whole) {
      done += 4 * lanes;
    } else {
      for (int64_t at = skip; at < 4 * lanes && done < count; ++at) factors[done++] = buffer[at];
    }
  }
}

}  // namespace crisp::CRISP_ISA
