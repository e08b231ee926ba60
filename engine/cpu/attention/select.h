// Which keys a query keeps. Scores are compared as integers that sort as the scores do, with every NaN above everything
// (a broken score must show up in the loss instead of vanishing) and -0 equal to 0.
#pragma once

#include "engine/bit_cast.h"
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/simd/simd.h"

namespace crisp::CRISP_ISA {

template <class T>
constexpr Int<T> largest_key = sizeof(T) == 4 ? Int<T>(INT32_MAX) : Int<T>(INT64_MAX);

template <class T>
CRISP_INLINE Int<T> key_of(T score) {
  const auto bits = bit_cast<Int<T>>(score + T(0));  // -0 becomes 0
  const Int<T> key = bits ^ ((bits >> (8 * sizeof(T) - 1)) & largest_key<T>);
  return score == score ? key : largest_key<T>;
}
/// The score that has this key; 0 for -0.
template <class T>
CRISP_INLINE T score_of(Int<T> key) {
  return bit_cast<T>(key ^ ((key >> (8 * sizeof(T) - 1)) & largest_key<T>));
}

/// `keys` can be read up to a whole vector more.
template <class K>
CRISP_INLINE int64_t count_at_least(const K* keys, int64_t n, K limit) {
#if defined(__AVX512F__)
  if constexpr (sizeof(K) == 4) {
    // Masks are counted: adding up lanes at the end would cost as much as comparing a short row.
    const Vec<int32_t> bound = broadcast(limit);
    int64_t found = 0, j = 0;
    for (; j + lanes<K> <= n; j += lanes<K>) found += count_lanes(at_least(load(keys + j), bound));
    if (j < n) found += count_lanes(at_least(load(keys + j), bound) & first_lanes<K>(n - j));
    return found;
  }
#endif
  K count = 0;
#pragma omp simd reduction(+ : count)
  for (int64_t j = 0; j < n; ++j) count += keys[j] >= limit;
  return count;
}

/// Writes the positions of the keys that are at least `limit`, in order, and returns how many there are. `keys` can be
/// read and `positions` be written up to a whole vector more.
template <class K>
CRISP_INLINE int64_t positions_at_least(const K* keys, int64_t n, K limit, int32_t* positions) {
  int64_t count = 0;
  if constexpr (sizeof(K) == 4) {
    Vec<int32_t> index = first_indices<int32_t>();
    for (int64_t j = 0; j < n; j += lanes<int32_t>, index += lanes<int32_t>) {
      const LaneBits kept = at_least(load(keys + j), broadcast(limit)) & first_lanes<int32_t>(n - j);
      store_compressed(positions + count, index, kept);
      count += count_lanes(kept);
    }
  } else {
    for (int64_t j = 0; j < n; ++j) {
      positions[count] = static_cast<int32_t>(j);
      count += keys[j] >= limit;
    }
  }
  return count;
}

/// A key with `count` keys at or above it: exactly k, or more where several keys are equal to the k-th largest; then it
/// is that one.
template <class T>
struct Threshold {
  Int<T> key;
  int64_t count;
};

/// The least and the largest of n keys.
template <class K>
struct KeyRange {
  K low, high;
  CRISP_INLINE KeyRange(const K* keys, int64_t n) {
    K least = keys[0], most = keys[0];
#pragma omp simd reduction(min : least) reduction(max : most)
    for (int64_t j = 0; j < n; ++j) {
      least = keys[j] < least ? keys[j] : least;
      most = keys[j] > most ? keys[j] : most;
    }
    low = least;
    high = most;
  }
};

/// The threshold that keeps the k largest of n keys, 1 <= k <= n, which lie in `all`. An interval that contains it
/// shrinks: at first to where it would be if the scores in the interval lay evenly (false position, with a halving now
/// and then where they do not), then by halves of the keys' interval, as often as a key has bits at most.
template <class T>
Threshold<T> keep_largest(const Int<T>* keys, int64_t n, int64_t k, KeyRange<Int<T>> all) {
  using K = Int<T>;
  auto [low, high] = all;
  int64_t count = n, beyond = 0;  // at or above low, at least k; above high, fewer than k
  for (int step = 0; low < high && count > k; ++step) {
    // Upwards from low, without overflow.
    auto middle =
        static_cast<K>(low + static_cast<K>((static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1) / 2));
    if (step < 24) {
      const T part = step % 4 == 3 ? T(0.5) : static_cast<T>(count - k) / static_cast<T>(count - beyond);
      const T from = score_of<T>(low), to = score_of<T>(high);
      const K guess = key_of<T>((T(1) - part) * from + part * to);
      middle = guess > low && guess <= high ? guess : middle;
    }
    const int64_t above = count_at_least(keys, n, middle);
    if (above >= k) {
      low = middle;
      count = above;
    } else {
      high = middle - 1;
      beyond = above;
    }
  }
  return {low, count};
}

// keep_largest() for few keys, by counting for each of them how many are larger. After the n keys come some, to a
// multiple of 4, that are larger than none of them.
constexpr int64_t few_keys = lanes<int32_t> < 8 ? 6 * lanes<int32_t> : 48;
template <int Vectors>
CRISP_INLINE Threshold<float> keep_largest_of_vectors(const int32_t* keys, int64_t n, int64_t k) {
  Vec<int32_t> all[Vectors], larger[Vectors] = {}, found = broadcast(INT32_MAX);
  for (int v = 0; v < Vectors; ++v) all[v] = load(keys + v * lanes<int32_t>);
  for (int64_t i = 0; i < n; i += 4) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) {
      const Vec<int32_t> own = broadcast(keys[i + u]);
#pragma GCC unroll 6
      for (int v = 0; v < Vectors; ++v) larger[v] = own > all[v] ? larger[v] + 1 : larger[v];
    }
  }
  // The least key that fewer than k are larger than.
  int64_t count = 0;
  for (int v = 0; v < Vectors; ++v) {
    const LaneBits in_row = first_lanes<int32_t>(max_of(0, n - v * lanes<int32_t>));
    const Vec<int32_t> chosen = larger[v] < static_cast<int32_t>(k),
                       inside = first_indices<int32_t>() < static_cast<int32_t>(n - v * lanes<int32_t>);
    const Vec<int32_t> candidate = (chosen & inside) ? all[v] : broadcast(INT32_MAX);
    found = candidate < found ? candidate : found;
    count += count_lanes(true_lanes(chosen) & in_row);
  }
  return {~max_of_lanes<int32_t>(~found)[0], count};
}
template <int Vectors = 1>
CRISP_INLINE Threshold<float> keep_largest_of_few(const int32_t* keys, int64_t n, int64_t k) {
  if constexpr (Vectors * lanes<int32_t> < few_keys)
    if (n > Vectors * lanes<int32_t>) return keep_largest_of_few<Vectors + 1>(keys, n, k);
  return keep_largest_of_vectors<Vectors>(keys, n, k);
}

/// The same in any case. `keys` can be read up to a whole vector more; what follows the n keys there is larger than
/// none of them.
template <class T>
CRISP_INLINE Threshold<T> keep_largest(const Int<T>* keys, int64_t n, int64_t k) {
  if constexpr (sizeof(T) == 4)
    if (n <= few_keys) return keep_largest_of_few(keys, n, k);
  return keep_largest<T>(keys, n, k, KeyRange(keys, n));
}

/// Positions of the k largest of n keys, in order, from their threshold; of equal ones the earlier are kept. `keys` can
/// be read up to a whole vector, whatever follows the n-th; `positions` has room for a vector more than n.
template <class T>
void list_largest(const Int<T>* keys, int64_t n, int64_t k, Threshold<T> threshold, int32_t* positions) {
  if (threshold.count == k) {
    positions_at_least(keys, n, threshold.key, positions);
    return;
  }
  // Nothing is above a NaN.
  const bool highest = threshold.key == largest_key<T>;
  int64_t ties = highest ? k : k - count_at_least(keys, n, static_cast<Int<T>>(threshold.key + 1));
  int64_t count = 0;
  for (int64_t j = 0; count < k; ++j) {
    const bool tie = keys[j] == threshold.key && ties > 0;
    positions[count] = static_cast<int32_t>(j);
    count += keys[j] > threshold.key || tie;
    ties -= tie;
  }
}

/// The same, with the threshold.
template <class T>
void top_k(const Int<T>* keys, int64_t n, int64_t k, int32_t* positions) {
  list_largest<T>(keys, n, k, keep_largest<T>(keys, n, k), positions);
}

/// The key of the scores' q quantile with linear interpolation between order statistics, as numpy.quantile and
/// torch.quantile.
template <class T>
Int<T> quantile_key(const Int<T>* keys, int64_t n, double q) {
  using K = Int<T>;
  const double position = q * static_cast<double>(n - 1);
  const auto below = static_cast<int64_t>(position);
  const T fraction = static_cast<T>(position - static_cast<double>(below));
  const Threshold<T> threshold = keep_largest<T>(keys, n, n - below, KeyRange(keys, n));
  K low = largest_key<T>;
#pragma omp simd reduction(min : low)
  for (int64_t j = 0; j < n; ++j) low = keys[j] >= threshold.key && keys[j] < low ? keys[j] : low;
  if (below + 1 == n || fraction == T(0)) return low;
  // The next one up: equal to `low` if that occurs again among the n - below largest.
  K high = largest_key<T>;
  K above = 0;
#pragma omp simd reduction(min : high) reduction(+ : above)
  for (int64_t j = 0; j < n; ++j) {
    high = keys[j] > low && keys[j] < high ? keys[j] : high;
    above += keys[j] > low;
  }
  if (above < n - below - 1) high = low;
  const T from = score_of<T>(low);
  return key_of<T>(from + fraction * (score_of<T>(high) - from));
}

}  // namespace crisp::CRISP_ISA
