// Which keys each query keeps, as lists of positions: by selection, by span, by given lists, by chance. What is kept of
// a row of scores depends on that row, for a percentile on the (sequence, head), and on random numbers whose index is
// that of the weight.
#pragma once

#include <cmath>

#include "engine/cpu/attention/block.h"
#include "engine/cpu/attention/select.h"
#include "engine/formulas.h"

namespace crisp::CRISP_ISA {

CRISP_INLINE bool is_protected(const AttentionShape& s, const AttentionBlock& b, int64_t i, int64_t j) {
  return (s.keep_first && j == 0) || (s.keep_last && j == b.n_k - 1) || (s.keep_diagonal && j == i);
}

/// Query i's protected keys rank first.
template <class T>
CRISP_INLINE void raise_protected(const AttentionShape& s, const AttentionBlock& b, int64_t i, Int<T>* keys) {
  if (s.keep_first) keys[0] = largest_key<T>;
  if (s.keep_last) keys[b.n_k - 1] = largest_key<T>;
  if (s.keep_diagonal && i < b.n_k) keys[i] = largest_key<T>;
}

/// The gate of a learned span between query i and key j.
CRISP_INLINE double span_gate(double ramp, double span, int64_t i, int64_t j) {
  return formulas::SpanGate::value(ramp, span, static_cast<double>(i < j ? j - i : i - j));
}

CRISP_INLINE int64_t positions_in_span(const AttentionShape& s, const AttentionBlock& b, int64_t i, double span,
                                       int32_t* positions) {
  int64_t count = 0;
  for (int64_t j = 0; j < b.n_k; ++j) {
    positions[count] = static_cast<int32_t>(j);
    count += !(span_gate(s.span_ramp, span, i, j) <= 0);
  }
  if (count > 0) return count;
  positions[0] = static_cast<int32_t>(min_of(i, b.n_k - 1));  // the nearest
  return 1;
}

/// Every key but those of the n - k largest that chance removes: where `chance` is 0.
template <class T>
CRISP_INLINE int64_t positions_not_dropped(const AttentionShape& s, const AttentionBlock& b, int64_t i, int64_t k,
                                           const T* chance, ThresholdHint<T>& hint, const AttentionScratch<T>& scratch,
                                           int32_t* positions) {
  const int64_t candidates = b.n_k - k;
  int32_t* largest = scratch.candidates;
  if (candidates > 0) top_k<T>(scratch.keys, b.n_k, candidates, hint, scratch.between, largest);
  int64_t count = 0;
  for (int64_t j = 0, c = 0; j < b.n_k; ++j) {
    const bool candidate = c < candidates && largest[c] == j;
    c += candidate;
    const bool stays = !candidate || chance[j] != T(0) || is_protected(s, b, i, j) || scratch.keys[j] == largest_key<T>;
    positions[count] = static_cast<int32_t>(j);
    count += stays;
  }
  return count;
}

/// The keys by which query i's scores x, before they are scaled, are compared.
template <class T>
CRISP_INLINE void row_keys(const AttentionShape& s, const AttentionBlock& b, int64_t i, const T* x, Int<T>* keys) {
  const T scale = static_cast<T>(s.selection == Selection::bottom_k ? -s.scale : s.scale);
#pragma omp simd
  for (int64_t j = 0; j < b.n_k; ++j) keys[j] = key_of(scale * x[j]);
  if (s.selection != Selection::drop_top) raise_protected<T>(s, b, i, keys);
}

/// Positions of the keys that query i keeps, from its scores x before they are scaled; how many. `limit` is the key of
/// the block's threshold, if it has one.
template <class T>
int64_t select_row(const AttentionShape& s, const AttentionBlock& b, int64_t i, int64_t k, const T* x, Int<T> limit,
                   const T* chance, ThresholdHint<T>& hint, const AttentionScratch<T>& scratch, int32_t* positions) {
  Int<T>* keys = scratch.keys;
  row_keys(s, b, i, x, keys);
  if (s.selection == Selection::drop_top) return positions_not_dropped(s, b, i, k, chance, hint, scratch, positions);
  if (s.selection == Selection::top_k_ties)
    return positions_at_least(keys, b.n_k, keep_largest<T>(keys, b.n_k, k, hint, scratch.between).key, positions);
  if (s.selection == Selection::percentile_head || s.selection == Selection::threshold) {
    const int64_t count = positions_at_least(keys, b.n_k, limit, positions);
    if (count > 0) return count;
    k = 1;  // a row without a score at the threshold keeps its largest
  }
  top_k<T>(keys, b.n_k, k, hint, scratch.between, positions);
  return k;
}

/// The scaled scores of a list of positions, from a row of scores x.
template <class T>
CRISP_INLINE void gather_row(int64_t count, const int32_t* positions, const T* x, T scale, T* listed) {
  for (int64_t t = 0; t < count; ++t) listed[t] = scale * x[positions[t]];
}

/// Lists of the k largest scores, of queries first + from .. first + from + rows, at most as many as a vector has
/// lanes: their part of select_rows(), with thresholds that are looked for side by side, and of gather_scores().
template <class T>
void select_largest_of_rows(const AttentionShape& s, const AttentionBlock& b, int64_t first, int64_t from, int64_t rows,
                            int64_t k, ThresholdHint<T>& hint, const AttentionScratch<T>& scratch) {
  constexpr int64_t width = lanes<T>;
  const int64_t stride = b.padded + width;
  for (int64_t r = 0; r < rows; ++r)
    row_keys(s, b, first + from + r, scratch.scores + (from + r) * b.padded, scratch.keys + r * stride);
  for (int64_t j = 0; j < b.n_k; j += width) {
    Vec<Int<T>> square[width];
    for (int64_t r = 0; r < width; ++r) square[r] = load(scratch.keys + min_of(r, rows - 1) * stride + j);
    transpose_square<Int<T>>(square);
    for (int64_t i = 0; i < width; ++i) store(scratch.beside + (j + i) * width, square[i]);
  }
  const RowThresholds thresholds = keep_largest_of_rows(scratch.beside, b.n_k, k, hint);
  const T scale = static_cast<T>(s.scale);
  for (int64_t r = 0; r < rows; ++r) {
    const Int<T>* keys = scratch.keys + r * stride;
    int32_t* positions = scratch.positions + scratch.starts[from + r];
    const T* x = scratch.scores + (from + r) * b.padded;
    T* listed = scratch.weights + scratch.starts[from + r];
    int64_t count = thresholds.count[r];
    if (count == k || s.selection == Selection::top_k_ties) {
      for_lanes_at_least(keys, b.n_k, thresholds.key[r],
                         [=](int64_t j, Vec<int32_t> index, LaneBits kept, int64_t before) CRISP_INLINED {
                           store_compressed(positions + before, index, kept);
                           store_compressed(listed + before, scale * load(x + j), kept);
                         });
    } else {
      count = k;
      list_largest<T>(keys, b.n_k, k, {thresholds.key[r], thresholds.count[r]}, positions);
      gather_row(count, positions, x, scale, listed);
    }
    scratch.starts[from + r + 1] = scratch.starts[from + r] + static_cast<int32_t>(count);
  }
}

/// The lists of `rows` queries from `first` on, into scratch.positions and scratch.starts; scratch.scores are their
/// scores before they are scaled, which Selection::listed and a span do without. Returns whether the scaled scores lie
/// beside the positions already, in scratch.weights.
template <class T>
bool select_rows(const AttentionShape& s, const AttentionBlock& b, int64_t first, int64_t rows, Int<T> limit,
                 double span, ThresholdHint<T>& hint, const AttentionScratch<T>& scratch) {
  const int64_t k = top_k_count(s.sparsity, b.n_k);
  const T* chance = nullptr;
  if (s.selection == Selection::drop_top)
    chance = dropout_factors<T>({s.drop_p, s.drop_key}, b.weights + first * b.n_k, rows * b.n_k, scratch.chance);
  scratch.starts[0] = 0;
  if constexpr (rows_side_by_side<T>) {
    const bool largest = s.selection == Selection::top_k_row || s.selection == Selection::top_k_ties ||
                         s.selection == Selection::bottom_k;
    if (largest && rows > 1 && s.span_ramp == 0) {
      for (int64_t r = 0; r < rows; r += lanes<T>)
        select_largest_of_rows(s, b, first, r, min_of(lanes<T>, rows - r), k, hint, scratch);
      return true;
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t i = first + r;
    int32_t* positions = scratch.positions + scratch.starts[r];
    int64_t count = 0;
    if (s.selection == Selection::listed) {
      const KeyList list = key_list(s, b, i);
      count = list.count;
      for (int64_t t = 0; t < count; ++t) positions[t] = list.keys[t];
    } else if (s.span_ramp > 0) {
      count = positions_in_span(s, b, i, span, positions);
    } else if (s.selection == Selection::all) {
      count = b.n_k;
      for (int64_t j = 0; j < count; ++j) positions[j] = static_cast<int32_t>(j);
    } else {
      count = select_row(s, b, i, k, scratch.scores + r * b.padded, limit, chance ? chance + r * b.n_k : nullptr, hint,
                         scratch, positions);
    }
    scratch.starts[r + 1] = scratch.starts[r] + static_cast<int32_t>(count);
  }
  return false;
}

/// Takes keys that chance removes out of the lists and of the lists of scores x beside them. `columns` are the factors
/// of whole columns, null where each entry has its own.
template <class T>
void drop_keys(const AttentionShape& s, const AttentionBlock& b, int64_t first, int64_t rows, const T* columns, T* x,
               const AttentionScratch<T>& scratch) {
  const T* entries = nullptr;
  if (!columns)
    entries = dropout_factors<T>({s.key_dropout.p, s.key_dropout.key}, b.weights + first * b.n_k, rows * b.n_k,
                                 scratch.chance);
  int32_t out = 0, end = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t begin = end;
    end = scratch.starts[r + 1];
    const T* factors = columns ? columns : entries + r * b.n_k;
    const int32_t from = out;
    int32_t best = scratch.positions[begin];
    T best_score = x[begin];
    for (int32_t t = begin; t < end; ++t) {
      const int32_t j = scratch.positions[t];
      const T score = x[t];
      if (key_of(score) > key_of(best_score)) {
        best = j;
        best_score = score;
      }
      const bool stays = factors[j] != T(0) || score != score || is_protected(s, b, first + r, j);
      scratch.positions[out] = j;
      x[out] = score;
      out += stays;
    }
    if (out == from) {
      scratch.positions[out] = best;
      x[out++] = best_score;
    }
    scratch.starts[r + 1] = out;
  }
}

}  // namespace crisp::CRISP_ISA
