// Which keys a query keeps. A warp decides for a row of scaled scores x, in which absent() takes the place of every key
// that is not kept. Scores are compared as unsigned numbers that sort as the scores do, with every NaN above everything
// and -0 equal to 0.
#pragma once

#include "engine/cuda/attention/block.cuh"

namespace crisp::CRISP_CUDA_NAMESPACE {

template <class T>
constexpr UInt<T> largest_key = static_cast<UInt<T>>(~UInt<T>{0});

template <class T>
__device__ __forceinline__ UInt<T> key_of(T score) {
  constexpr UInt<T> sign = UInt<T>{1} << (8 * sizeof(T) - 1);
  const auto bits = std::bit_cast<UInt<T>>(score + T(0));  // -0 becomes 0
  return score == score ? bits ^ ((bits & sign) != 0 ? largest_key<T> : sign) : largest_key<T>;
}
/// The score that has this key; 0 for -0.
template <class T>
__device__ __forceinline__ T score_of(UInt<T> key) {
  constexpr UInt<T> sign = UInt<T>{1} << (8 * sizeof(T) - 1);
  return std::bit_cast<T>(static_cast<UInt<T>>(key ^ ((key & sign) != 0 ? sign : largest_key<T>)));
}

/// The largest `limit` with at least k of the keys at or above it, or one with exactly k, found from the top bit down;
/// `count` becomes how many there are. count_at_least(limit) counts them, n in all.
template <class K, class Count>
__device__ __forceinline__ K keep_largest(int64_t n, int64_t k, int64_t& count, Count count_at_least) {
  K limit = 0;
  count = n;
  for (int bit = 8 * sizeof(K) - 1; bit >= 0 && count != k; --bit) {
    const K next = limit | (K{1} << bit);
    const int64_t found = count_at_least(next);
    if (found < k) continue;
    limit = next;
    count = found;
  }
  return limit;
}

/// How many keys key(0 .. n-1) are at or above a limit, for a warp.
template <class K, class Key>
__device__ __forceinline__ int count_in_warp(int n, K limit, Key key) {
  unsigned mine = 0;
  for (int j = threadIdx.x % warp; j < n; j += warp) mine += key(j) >= limit ? 1 : 0;
  return static_cast<int>(__reduce_add_sync(all_lanes, mine));
}

/// f(j, whether key(j) is among the k largest, 1 <= k <= n), by the lane that j belongs to. Of equal keys the earlier
/// win, or all that equal the k-th with `all_ties`.
template <class T, class Key, class F>
__device__ __forceinline__ void for_largest(int n, int k, bool all_ties, Key key, F f) {
  int64_t count;
  const UInt<T> limit = keep_largest<UInt<T>>(n, k, count, [&](UInt<T> next) { return count_in_warp(n, next, key); });
  int ties = n;
  if (count != k && !all_ties) ties = limit == largest_key<T> ? k : k - count_in_warp<UInt<T>>(n, limit + 1, key);
  const int lane = threadIdx.x % warp;
  for (int j0 = 0; j0 < n; j0 += 32) {
    const int j = j0 + lane;
    const UInt<T> own = j < n ? key(j) : UInt<T>{0};
    const unsigned equal = __ballot_sync(all_lanes, j < n && own == limit);
    const bool tie = own == limit && __popc(equal & ((1u << lane) - 1)) < ties;
    if (j < n) f(j, own > limit || tie);
    ties -= __popc(equal);
  }
}

/// A query and its scores.
template <class T>
struct ScoreRow {
  int i;            // which of the sequence's queries
  int n;            // keys
  T* x;             // [n]
  int64_t element;  // of its first weight
};

__device__ __forceinline__ bool is_protected(const AttentionShape& s, int i, int n, int j) {
  return (s.keep_first && j == 0) || (s.keep_last && j == n - 1) || (s.keep_diagonal && j == i);
}

/// f(j) for the row's keys that belong to this lane.
template <class T, class F>
__device__ __forceinline__ void for_own(const ScoreRow<T>& row, F f) {
  for (int j = threadIdx.x % warp; j < row.n; j += warp) f(j);
}

/// Whether a sorted list has the key j.
__device__ __forceinline__ bool has_key(const int32_t* keys, int count, int j) {
  int from = 0;
  while (count > 0) {
    const int half = count / 2;
    const bool right = keys[from + half] < j;
    from = right ? from + half + 1 : from;
    count = right ? count - half - 1 : half;
  }
  return keys[from] == j;
}

/// The gate of a learned span between query i and key j.
__device__ __forceinline__ double span_gate(double ramp, double span, int i, int j) {
  return formulas::SpanGate::value(ramp, span, static_cast<double>(i < j ? j - i : i - j));
}

/// Keeps the keys within the span, or the nearest. A gate times an exponential is the exponential of the score plus the
/// gate's log.
template <class T>
__device__ __forceinline__ void keep_span(const AttentionShape& s, const ScoreRow<T>& row, double span) {
  bool some = false;
  for_own(row, [&](int j) { some |= !(span_gate(s.span_ramp, span, row.i, j) <= 0); });
  some = __any_sync(all_lanes, some) != 0;
  for_own(row, [&](int j) {
    const double gate = span_gate(s.span_ramp, span, row.i, j);
    const bool stays = some ? !(gate <= 0) : j == min(row.i, row.n - 1);
    if (!stays) {
      row.x[j] = absent<T>();
    } else if (!(gate <= 0 || gate >= 1)) {
      row.x[j] += static_cast<T>(Math::log(gate));
    }
  });
}

/// Keeps what the selection keeps. `limit` is the key of the threshold, if there is one.
template <class T>
__device__ __forceinline__ void select_keys(const AttentionShape& s, const AttentionBlock& b, const ScoreRow<T>& row,
                                            UInt<T> limit) {
  T* x = row.x;
  const auto keep_if = [=](int j, bool stays) {
    if (!stays) x[j] = absent<T>();
  };
  if (s.selection == Selection::listed) {
    const int32_t* start = s.list_starts + b.head * s.list_stride + b.first_query + row.i;
    const int32_t *keys = s.list_keys + start[0], count = start[1] - start[0];
    for_own(row, [&](int j) { keep_if(j, j <= keys[count - 1] && has_key(keys, count, j)); });
    return;
  }
  int64_t k = top_k_count(s.sparsity, row.n);
  if (s.selection == Selection::drop_top) {
    k = row.n - k;
    if (k == 0) return;
    const auto key = [=](int j) { return key_of(x[j]); };
    for_largest<T>(row.n, static_cast<int>(k), false, key, [&](int j, bool candidate) {
      keep_if(j, !candidate || is_protected(s, row.i, row.n, j) || x[j] != x[j] ||
                     chance_keeps(s.drop_key, s.drop_p, row.element + j));
    });
    return;
  }
  const bool smallest = s.selection == Selection::bottom_k;
  const auto key = [&](int j) {
    return is_protected(s, row.i, row.n, j) ? largest_key<T> : key_of(smallest ? -x[j] : x[j]);
  };
  if (s.selection == Selection::percentile_head || s.selection == Selection::threshold) {
    if (count_in_warp(row.n, limit, key) > 0) {
      for_own(row, [&](int j) { keep_if(j, key(j) >= limit); });
      return;
    }
    k = 1;  // a row without a score at the threshold keeps its largest
  }
  for_largest<T>(row.n, static_cast<int>(k), s.selection == Selection::top_k_ties, key, keep_if);
}

/// Takes out kept keys that chance removes, but never the last one. `columns` is the element of the (sequence, head)'s
/// first weight.
template <class T>
__device__ __forceinline__ void drop_keys(const AttentionShape& s, const ScoreRow<T>& row, int64_t columns) {
  T* x = row.x;
  const int64_t first = s.key_dropout.columns ? columns : row.element;
  const auto stays = [&](int j) {
    return x[j] != x[j] || is_protected(s, row.i, row.n, j) ||
           chance_keeps(s.key_dropout.key, s.key_dropout.p, first + j);
  };
  bool some = false;
  for_own(row, [&](int j) { some |= !is_absent(x[j]) && stays(j); });
  if (__any_sync(all_lanes, some) != 0) {
    for_own(row, [&](int j) {
      if (!is_absent(x[j]) && !stays(j)) x[j] = absent<T>();
    });
    return;
  }
  const auto key = [=](int j) { return is_absent(x[j]) ? UInt<T>{0} : key_of(x[j]); };
  for_largest<T>(row.n, 1, false, key, [=](int j, bool best) {
    if (!best) x[j] = absent<T>();
  });
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
