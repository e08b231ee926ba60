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

/// The same for vectors.
CRISP_INLINE Vec<int32_t> keys_of(Vec<float> scores) {
  const Vec<int32_t> bits = reinterpret_cast<Vec<int32_t>>(scores + 0.0f), top = broadcast(largest_key<float>);
  return scores == scores ? bits ^ ((bits >> 31) & top) : top;
}
CRISP_INLINE Vec<float> scores_of(Vec<int32_t> keys) {
  return reinterpret_cast<Vec<float>>(keys ^ ((keys >> 31) & broadcast(largest_key<float>)));
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

/// For the keys that are at least `limit`, f(first position, its vector of positions, which lanes, how many before),
/// for keys of 4 bytes; how many there are. `keys` can be read up to a whole vector more.
template <class F>
CRISP_INLINE int64_t for_lanes_at_least(const int32_t* keys, int64_t n, int32_t limit, F f) {
  int64_t count = 0;
  Vec<int32_t> index = first_indices<int32_t>();
  for (int64_t j = 0; j < n; j += lanes<int32_t>, index += lanes<int32_t>) {
    const LaneBits kept = at_least(load(keys + j), broadcast(limit)) & first_lanes<int32_t>(n - j);
    f(j, index, kept, count);
    count += count_lanes(kept);
  }
  return count;
}

/// Writes the positions of the keys that are at least `limit`, in order, and returns how many there are. `keys` can be
/// read and `positions` be written up to a whole vector more.
template <class K>
CRISP_INLINE int64_t positions_at_least(const K* keys, int64_t n, K limit, int32_t* positions) {
  int64_t count = 0;
  if constexpr (sizeof(K) == 4) {
    count = for_lanes_at_least(keys, n, limit,
                               [=](int64_t, Vec<int32_t> index, LaneBits kept, int64_t before)
                                   CRISP_INLINED { store_compressed(positions + before, index, kept); });
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

/// Where the thresholds of the rows before lay. That of the next row is near, mostly.
template <class T>
struct ThresholdHint {
  T centre = 0, reach = 0;  // reach 0: nothing is known
};

/// One more in the lanes where `truth`, a comparison, holds.
CRISP_INLINE Vec<int32_t> count_where(Vec<int32_t> count, Vec<int32_t> truth) {
#if defined(__AVX512F__)
  return truth ? count + 1 : count;  // one instruction with a mask
#else
  return count - truth;
#endif
}

/// Thresholds of as many rows as a vector has lanes are looked for at once: the keys lie side by side, and no sums over
/// lanes are needed.
struct RowThresholds {
  Vec<int32_t> key, count;  // of each row, as Threshold
};

/// For each row, an interval of keys that contains its threshold.
struct RowIntervals {
  Vec<int32_t> low, high;
  Vec<int32_t> count, beyond;  // keys at or above low, at least k; above high, fewer than k
};

/// From the least key to the largest that is no NaN and not protected. A row with k of these has its threshold.
CRISP_INLINE RowIntervals whole_intervals(const int32_t* keys, int64_t n, int64_t k) {
  using V = Vec<int32_t>;
  const V top = broadcast(largest_key<float>), lowest = broadcast(INT32_MIN);
  V low = top, high = lowest, beyond{};
  for (int64_t j = 0; j < n; ++j) {
    const V key = load(keys + j * lanes<int32_t>), is_top = key == top, below = is_top ? lowest : key;
    low = key < low ? key : low;
    high = below > high ? below : high;
    beyond = count_where(beyond, is_top);
  }
  const V done = beyond >= static_cast<int32_t>(k);
  return {.low = done ? top : low,
          .high = done ? top : high,
          .count = done ? beyond : broadcast(static_cast<int32_t>(n)),
          .beyond = beyond};
}

/// From `from` to below `to`; whether all thresholds lie there.
CRISP_INLINE bool intervals_between(const int32_t* keys, int64_t n, int64_t k, int32_t from, int32_t to,
                                    RowIntervals& found) {
  using V = Vec<int32_t>;
  const V first = broadcast(from), end = broadcast(to);
  V from_first[2] = {}, from_end[2] = {};
  const auto count = [&](int64_t j, int i) CRISP_INLINED {
    const V key = load(keys + j * lanes<int32_t>);
    from_first[i] = count_where(from_first[i], key >= first);
    from_end[i] = count_where(from_end[i], key >= end);
  };
  int64_t j = 0;
  for (; j + 2 <= n; j += 2) {
    count(j, 0);
    count(j + 1, 1);
  }
  if (j < n) count(j, 0);
  const V at_first = from_first[0] + from_first[1], at_end = from_end[0] + from_end[1];
  found = {.low = first, .high = end - 1, .count = at_first, .beyond = at_end};
  const auto wanted = static_cast<int32_t>(k);
  return true_lanes((at_first < wanted) | (at_end >= wanted)) == 0;
}

/// keep_largest() for rows whose keys lie side by side: that of position j in row r at keys[j * lanes + r].
CRISP_INLINE RowThresholds keep_largest_of_rows(const int32_t* keys, int64_t n, int64_t k, ThresholdHint<float>& hint) {
  using V = Vec<int32_t>;
  using F = Vec<float>;
  constexpr int64_t width = lanes<int32_t>;
  const V wanted = broadcast(static_cast<int32_t>(k));
  RowIntervals interval;
  if (!(hint.reach > 0) ||
      !intervals_between(keys, n, k, key_of(hint.centre - hint.reach), key_of(hint.centre + hint.reach), interval))
    interval = whole_intervals(keys, n, k);
  auto& [low, high, count, beyond] = interval;
  for (int step = 0;; ++step) {
    const V open = (low < high) & (count > wanted);
    if (true_lanes(open) == 0) {
      // The next rows' thresholds will hardly be further away from the middle of these than twice the furthest.
      const float least = score_of<float>(~max_of_lanes<int32_t>(~low)[0]),
                  most = score_of<float>(max_of_lanes<int32_t>(low)[0]);
      hint = {least / 2 + most / 2, most - least};
      return {low, count};
    }
    const auto distance = reinterpret_cast<Vec<uint32_t>>(high) - reinterpret_cast<Vec<uint32_t>>(low);
    V middle = high - reinterpret_cast<V>(distance >> 1);
    if (step < 24) {
      // Half a key more than false position on either side: fewer steps that move one end by nothing.
      const F part = step % 8 == 7 ? broadcast(0.5f)
                                   : (__builtin_convertvector(count - wanted, F) + 0.5f) /
                                         (__builtin_convertvector(count - beyond, F) + 1.0f);
      const V guess = keys_of((1.0f - part) * scores_of(low) + part * scores_of(high));
      middle = ((guess > low) & (guess <= high)) ? guess : middle;
    }
    V parts[4] = {};
    int64_t j = 0;
    for (; j + 4 <= n; j += 4)
      for (int i = 0; i < 4; ++i) parts[i] = count_where(parts[i], load(keys + (j + i) * width) >= middle);
    for (; j < n; ++j) parts[0] = count_where(parts[0], load(keys + j * width) >= middle);
    const V above = (parts[0] + parts[1]) + (parts[2] + parts[3]);
    const V up = open & (above >= wanted), down = open & (above < wanted);
    low = up ? middle : low;
    count = up ? above : count;
    high = down ? middle - 1 : high;
    beyond = down ? above : beyond;
  }
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
