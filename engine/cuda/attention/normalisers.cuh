// What makes weights of a row's kept scores, by a warp.
#pragma once

#include "engine/cuda/attention/selection.cuh"

namespace crisp::CRISP_CUDA_NAMESPACE {

/// What the row becomes: its elements times `factor` are the weights. Keys without a part in them are absent().
template <class T>
struct RowWeights {
  T factor;
  int count;       // of keys that have a part
  double entropy;  // if wanted
};

template <class T>
__device__ __forceinline__ int count_kept(const ScoreRow<T>& row) {
  unsigned mine = 0;
  for_own(row, [&](int j) { mine += is_absent(row.x[j]) ? 0 : 1; });
  return static_cast<int>(__reduce_add_sync(all_lanes, mine));
}

/// The largest kept score; a NaN is none.
template <class T>
__device__ __forceinline__ T largest_score(const ScoreRow<T>& row) {
  T largest = -std::numeric_limits<T>::infinity();
  for_own(row, [&](int j) { largest = row.x[j] > largest ? row.x[j] : largest; });
  return warp_max(largest);
}

template <class T>
__device__ __forceinline__ RowWeights<T> softmax_row(const ScoreRow<T>& row, bool want_entropy) {
  using Softmax = formulas::Softmax<T, Math>;
  const T largest = largest_score(row);
  T sum = 0;
  double product = 0;
  unsigned kept = 0;
  for_own(row, [&](int j) {
    const T x = row.x[j];
    if (is_absent(x)) return;
    const T e = Softmax::exponential(x, largest);
    row.x[j] = e;
    sum += e;
    ++kept;
    if (want_entropy && e != T(0)) product += static_cast<double>(e) * static_cast<double>(x - largest);
  });
  sum = warp_sum(sum);
  double entropy = 0;
  if (want_entropy) {
    const auto total = static_cast<double>(sum);
    entropy = Math::log(total) - warp_sum(product) / total;
  }
  return {T(1) / sum, static_cast<int>(__reduce_add_sync(all_lanes, kept)), entropy};
}

/// The t for which the weights of x - t add up to 1, for scores x whose largest is 0: Newton's method from t = -1,
/// where the sum is at least 1. The sum falls and is convex in t, so the steps never go past the solution; for
/// sparsemax they end on it, because it is linear between two scores. NaN where a score is.
template <class Formula, class T>
__device__ __forceinline__ double sparse_threshold(const ScoreRow<T>& row) {
  bool broken = false;
  for_own(row, [&](int j) { broken |= row.x[j] != row.x[j] && !is_absent(row.x[j]); });
  if (__any_sync(all_lanes, broken) != 0) return std::numeric_limits<double>::quiet_NaN();
  double t = -1;
  for (int step = 0; step < row.n + 64; ++step) {
    double weights = 0, slopes = 0;
    for_own(row, [&](int j) {
      const double above = static_cast<double>(row.x[j]) - t, over = above > 0 ? above : 0;  // an absent one: NaN
      weights += Formula::weight(over);
      slopes += Formula::slope(over);
    });
    const double next = formulas::next_threshold<Formula>(t, warp_sum(weights), warp_sum(slopes));
    if (!(next > t)) break;
    t = next;
  }
  return t;
}

/// Sparsemax and 1.5-entmax, whose Formula computes in f64. Keys without a weight leave the row.
template <class Formula, class T>
__device__ __forceinline__ RowWeights<T> sparse_row(const ScoreRow<T>& row, bool want_entropy) {
  const T largest = largest_score(row);
  for_own(row, [&](int j) {
    if (!is_absent(row.x[j])) row.x[j] = (row.x[j] - largest) * static_cast<T>(Formula::score_factor);
  });
  const double limit = sparse_threshold<Formula>(row);
  unsigned kept = 0;
  double entropy = 0;
  for_own(row, [&](int j) {
    if (is_absent(row.x[j])) return;
    const double over = static_cast<double>(row.x[j]) - limit;
    const T w = over <= 0 ? T(0) : static_cast<T>(Formula::weight(over));
    row.x[j] = w == T(0) ? absent<T>() : w;
    if (w == T(0)) return;
    ++kept;
    if (want_entropy) entropy -= static_cast<double>(w) * Math::log(static_cast<double>(w));
  });
  return {T(1), static_cast<int>(__reduce_add_sync(all_lanes, kept)), want_entropy ? warp_sum(entropy) : 0};
}

template <class T>
__device__ __forceinline__ RowWeights<T> normalise_row(Normaliser normaliser, const ScoreRow<T>& row,
                                                       bool want_entropy) {
  if (normaliser == Normaliser::sparsemax) return sparse_row<formulas::Sparsemax<double, Math>>(row, want_entropy);
  if (normaliser == Normaliser::entmax15) return sparse_row<formulas::Entmax15<double, Math>>(row, want_entropy);
  return softmax_row(row, want_entropy);
}

/// Marks what dropout drops of a row that normalise_row() has left, `count` of whose keys have a part: see
/// marked_weight().
template <bool Lists, class T>
__device__ __forceinline__ void mark_dropped(const Dropout& dropout, const ScoreRow<T>& row, int count) {
  const bool by_place = drops_by_place(count, row.n);
  const int lane = threadIdx.x % warp;
  int before = 0;  // keys with a part
  for (int j0 = 0; j0 < row.n; j0 += 32) {
    const int j = j0 + lane;
    const T x = j < row.n ? row.x[j] : absent<T>();
    const bool has_part = j < row.n && !(Lists && is_absent(x));
    int place = j;
    if (Lists && by_place) {
      const unsigned parts = __ballot_sync(all_lanes, has_part);
      place = before + __popc(parts & ((1u << lane) - 1));
      before += __popc(parts);
    }
    // Not a NaN, which a sign could make absent().
    const bool marks = has_part && x == x;
    if (j < row.n) row.x[j] = marks ? marked_weight(x, weight_factor<T>(dropout, row.element + place)) : x;
  }
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
