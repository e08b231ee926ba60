// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// A number is a pure function of (seed, stream, step, site, element): no state to save, the same at any thread count,
// on any backend, and across resume. This is a leaf header: kernels of every backend include it, so what they call is
// always inlined (engine/cpu/cpu_kernels.h says why).
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/inline.h"

namespace crisp {

/// Independent streams, so that changing one source of chance leaves the others as they were.
enum class Stream : uint32_t { init = 1, order = 2, dropout = 3, masks = 4 };

/// Which random numbers: everything but the element index. `step` counts micro-batches (or epochs, for the order
/// stream); `site` tells apart the places that draw in one step (a layer, a parameter).
struct RandomKey {
  uint64_t seed = 0;
  Stream stream = Stream::init;
  uint32_t step = 0;
  uint32_t site = 0;
};

/// Four independent 32-bit words for the given 128-bit counter and 64-bit key.
CRISP_INLINE std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

/// The block of four words that holds elements 4*block .. 4*block+3. The stream sits in the top four
/// bits of the 64-bit block index, so a key serves up to 2^62 elements.
CRISP_INLINE std::array<uint32_t, 4> random_block(const RandomKey& key, uint64_t block) {
  const uint32_t high = static_cast<uint32_t>(block >> 32) | (static_cast<uint32_t>(key.stream) << 28);
  return philox4x32({static_cast<uint32_t>(block), high, key.site, key.step}, static_cast<uint32_t>(key.seed),
                    static_cast<uint32_t>(key.seed >> 32));
}

/// The word of one element. Loops over many elements take whole blocks instead.
CRISP_INLINE uint32_t random_word(const RandomKey& key, uint64_t element) {
  return random_block(key, element / 4)[element % 4];
}

/// A word as a uniform number in [0, 1) with 24 bits: exact in f32 and f64 alike.
CRISP_INLINE float uniform01(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

/// A dropout decision: true with probability 1 - p (to 2^-24).
CRISP_INLINE bool keeps(uint32_t word, double p) { return static_cast<double>(word >> 8) * 0x1p-24 >= p; }

/// Standard normal number by Box-Muller, from the pair of words (2i, 2i+1) of a key with i = element.
inline double normal(const RandomKey& key, uint64_t element) {
  const auto block = random_block(key, element / 2);
  const uint32_t a = block[2 * (element % 2)], b = block[2 * (element % 2) + 1];
  const double u = (static_cast<double>(a) + 1.0) * 0x1p-32;  // (0, 1]
  const double v = static_cast<double>(b) * 0x1p-32;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586476925 * v);
}

/// A uniform random permutation of 0..n-1 (Fisher-Yates; element i of the key decides the swap at position i). The
/// multiply-shift reduction has a bias below n / 2^32.
inline std::vector<int32_t> permutation(const RandomKey& key, int32_t n) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  for (int32_t i = 0; i < n; ++i) order[static_cast<size_t>(i)] = i;
  for (int32_t i = n - 1; i > 0; --i) {
    const uint64_t word = random_word(key, static_cast<uint64_t>(i));
    const auto j = static_cast<size_t>((word * static_cast<uint64_t>(i + 1)) >> 32);
    std::swap(order[static_cast<size_t>(i)], order[j]);
  }
  return order;
}

}  // namespace crisp
