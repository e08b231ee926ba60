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

/// f(j) for each of query i's protected keys.
template <class F>
CRISP_INLINE void for_protected(const AttentionShape& s, const AttentionBlock& b, int64_t i, F f) {
  if (s.keep_first) f(0);
  if (s.keep_last) f(b.n_k - 1);
  if (s.keep_diagonal && i < b.n_k) f(i);
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
                                           const T* chance, const AttentionScratch<T>& scratch, int32_t* positions) {
  const int64_t candidates = b.n_k - k;
  int32_t* largest = scratch.candidates;
  if (candidates > 0) top_k<T>(scratch.keys, b.n_k, candidates, largest);
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

/// The keys by which query i's scores x, before they are scaled, are compared, and a few behind them below all scores.
template <class T>
CRISP_INLINE void row_keys(const AttentionShape& s, const AttentionBlock& b, int64_t i, const T* x, Int<T>* keys) {
  const T scale = static_cast<T>(s.selection == Selection::bottom_k ? -s.scale : s.scale);
#pragma omp simd
  for (int64_t j = 0; j < b.n_k; ++j) keys[j] = key_of(scale * x[j]);
  for (int64_t j = 0; j < 4; ++j) keys[b.n_k + j] = key_of(static_cast<T>(-INFINITY));
  if (s.selection != Selection::drop_top) for_protected(s, b, i, [=](int64_t j) { keys[j] = largest_key<T>; });
}

/// Positions of the keys that query i keeps, from its scores x before they are scaled; how many. `limit` is the key of
/// the block's threshold, if it has one.
template <class T>
int64_t select_row(const AttentionShape& s, const AttentionBlock& b, int64_t i, int64_t k, const T* x, Int<T> limit,
                   const T* chance, const AttentionScratch<T>& scratch, int32_t* positions) {
  Int<T>* keys = scratch.keys;
  row_keys(s, b, i, x, keys);
  if (s.selection == Selection::drop_top) return positions_not_dropped(s, b, i, k, chance, scratch, positions);
  if (s.selection == Selection::top_k_ties)
    return positions_at_least(keys, b.n_k, keep_largest<T>(keys, b.n_k, k).key, positions);
  if (s.selection == Selection::percentile_head || s.selection == Selection::threshold) {
    const int64_t count = positions_at_least(keys, b.n_k, limit, positions);
    if (count > 0) return count;
    k = 1;  // a row without a score at the threshold keeps its largest
  }
  top_k<T>(keys, b.n_k, k, positions);
  return k;
}

/// The scaled scores of a list of positions, from a row of scores x.
template <class T>
CRISP_INLINE void gather_row(int64_t count, const int32_t* positions, const T* x, T scale, T* listed) {
  for (int64_t t = 0; t < count; ++t) listed[t] = scale * x[positions[t]];
}

/// What a row's kept keys are taken from, its scores before they are scaled; and where they go, beside the positions.
template <class T>
struct RowOfKeys {
  const T* x;
  T scale;
  int32_t* positions;
  T* listed;

  CRISP_INLINE RowOfKeys(const AttentionShape& s, const AttentionBlock& b, int64_t r,
                         const AttentionScratch<T>& scratch)
      : x(scratch.scores + r * b.padded),
        scale(static_cast<T>(s.scale)),
        positions(scratch.positions + scratch.starts[r]),
        listed(scratch.weights + scratch.starts[r]) {}

  /// The chosen lanes of a vector of keys, j the first, as those after the first `before` of the list. Whole vectors
  /// are read and written.
  CRISP_INLINE void put(int64_t j, Vec<int32_t> index, LaneBits kept, int64_t before) const {
    store_compressed(positions + before, index, kept);
    store_compressed(listed + before, scale * load(x + j), kept);
  }
  /// What lies beside the first `count` positions, which are there.
  CRISP_INLINE void gather(int64_t count) const { gather_row(count, positions, x, scale, listed); }
};

/// Whether a query's k largest (or smallest) scores are kept, whatever the other queries' are.
CRISP_INLINE bool keeps_largest(const AttentionShape& s) {
  return s.selection == Selection::top_k_row || s.selection == Selection::top_k_ties ||
         s.selection == Selection::bottom_k;
}

/// Thresholds of the k largest scores of queries first + from .. first + from + rows, at most as many as a vector has
/// lanes, looked for side by side. Their keys are left in scratch.keys, b.padded + lanes apart.
template <class T>
CRISP_INLINE RowThresholds thresholds_of_rows(const AttentionShape& s, const AttentionBlock& b, int64_t first,
                                              int64_t from, int64_t rows, int64_t k, ThresholdHint<T>& hint,
                                              const AttentionScratch<T>& scratch) {
  constexpr int64_t width = lanes<T>;
  const int64_t stride = b.padded + width;
  const Vec<T> scale = broadcast(static_cast<T>(s.selection == Selection::bottom_k ? -s.scale : s.scale));
  for (int64_t j = 0; j < b.n_k; j += width) {
    Vec<Int<T>> square[width];
    for (int64_t r = 0; r < width; ++r) {
      const int64_t row = min_of(r, rows - 1);
      square[r] = keys_of(scale * load(scratch.scores + (from + row) * b.padded + j));
      store(scratch.keys + row * stride + j, square[r]);
    }
    transpose_square<Int<T>>(square);
    for (int64_t i = 0; i < width; ++i) store(scratch.beside + (j + i) * width, square[i]);
  }
  for (int64_t r = 0; r < rows; ++r)
    for_protected(s, b, first + from + r, [&](int64_t j) CRISP_INLINED {
      scratch.keys[r * stride + j] = scratch.beside[j * width + r] = largest_key<T>;
    });
  return keep_largest_of_rows(scratch.beside, b.n_k, k, hint);
}

/// Lists of the k largest scores of such queries: their part of select_rows(), with what lies beside the positions.
template <class T>
void select_largest_of_rows(const AttentionShape& s, const AttentionBlock& b, int64_t first, int64_t from, int64_t rows,
                            int64_t k, ThresholdHint<T>& hint, const AttentionScratch<T>& scratch) {
  const RowThresholds thresholds = thresholds_of_rows(s, b, first, from, rows, k, hint, scratch);
  for (int64_t r = 0; r < rows; ++r) {
    const Int<T>* keys = scratch.keys + r * (b.padded + lanes<T>);
    const RowOfKeys<T> row(s, b, from + r, scratch);
    int64_t count = thresholds.count[r];
    if (count == k || s.selection == Selection::top_k_ties) {
      for_lanes_at_least(keys, b.n_k, thresholds.key[r],
                         [=](int64_t j, Vec<int32_t> index, LaneBits kept, int64_t before)
                             CRISP_INLINED { row.put(j, index, kept, before); });
    } else {
      count = k;
      list_largest<T>(keys, b.n_k, k, {thresholds.key[r], thresholds.count[r]}, row.positions);
      row.gather(k);
    }
    scratch.starts[from + r + 1] = scratch.starts[from + r] + static_cast<int32_t>(count);
  }
}

/// The other way to keep the k largest scores of `rows` queries from `first` on: all other scores become -infinity.
/// Returns how many are kept in all; to log_kept, unless it is null, are added the logs of how many each row keeps.
template <class T>
int64_t mask_rows(const AttentionShape& s, const AttentionBlock& b, int64_t first, int64_t rows, double* log_kept,
                  ThresholdHint<T>& hint, const AttentionScratch<T>& scratch) {
  constexpr int64_t width = lanes<T>;
  const int64_t k = top_k_count(s.sparsity, b.n_k);
  const Vec<T> nothing = broadcast(static_cast<T>(-INFINITY));
  int64_t kept = 0;
  for (int64_t from = 0; from < rows; from += width) {
    const int64_t here = min_of(width, rows - from);
    const RowThresholds thresholds = thresholds_of_rows(s, b, first, from, here, k, hint, scratch);
    for (int64_t r = 0; r < here; ++r) {
      Int<T>* keys = scratch.keys + r * (b.padded + width);
      T* x = scratch.scores + (from + r) * b.padded;
      Int<T> limit = thresholds.key[r];
      int64_t count = thresholds.count[r];
      if (count != k && s.selection != Selection::top_k_ties) {
        list_largest<T>(keys, b.n_k, k, {limit, count}, scratch.positions);
        for (int64_t j = 0; j < b.n_k; ++j) keys[j] = 0;
        for (int64_t t = 0; t < k; ++t) keys[scratch.positions[t]] = 1;
        limit = 1;
        count = k;
      }
      for (int64_t j = 0; j < b.n_k; j += width)
        store(x + j, load(keys + j) >= broadcast(limit) ? load(x + j) : nothing);
      kept += count;
      if (log_kept) *log_kept += std::log(static_cast<double>(count));
    }
  }
  return kept;
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
  if constexpr (sizeof(T) == 4) {
    if (keeps_largest(s) && rows > 1) {
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
      count = select_row(s, b, i, k, scratch.scores + r * b.padded, limit, chance ? chance + r * b.n_k : nullptr,
                         scratch, positions);
    }
    scratch.starts[r + 1] = scratch.starts[r] + static_cast<int32_t>(count);
  }
  return false;
}

/// Takes keys that chance removes out of the lists, with what lies beside them. `columns` are the factors of whole
/// columns, null where each entry has its own.
template <class T>
void drop_keys(const AttentionShape& s, const AttentionBlock& b, int64_t first, int64_t rows, const T* columns,
               const AttentionScratch<T>& scratch) {
  T* x = scratch.weights;
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

/// The factors of dropout for the weights of `rows` queries' lists, row r's from scratch.factor_starts[r] on, where a
/// vector more can be read; null without dropout.
template <class T>
const T* list_factors(const AttentionShape& s, const AttentionBlock& b, int64_t first, int64_t rows,
                      const AttentionScratch<T>& scratch) {
  if (!(s.dropout.p > 0)) return nullptr;
  const int32_t* starts = scratch.starts;
  int64_t blocks = 0;
  bool by_key = false;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t count = starts[r + 1] - starts[r], element = b.weights + (first + r) * b.n_k, skip = element % 4;
    const bool by_place = drops_by_place(count, b.n_k);
    by_key |= !by_place;
    scratch.factor_starts[r] = static_cast<int32_t>(4 * blocks + skip);
    const int64_t here = divide_up(skip + (by_place ? count : b.n_k), 4);
    Vec<uint64_t> block = first_indices<uint64_t>() + static_cast<uint64_t>(element / 4);
    for (int64_t i = 0; i < here; i += lanes<uint64_t>, block += uint64_t{lanes<uint64_t>})
      store(scratch.drawn + blocks + i, block);
    blocks += here;
  }
  T* factors = scratch.factors;
  const uint64_t* drawn = scratch.drawn;
  factors_of_blocks(
      s.dropout, blocks, [=](int64_t i) CRISP_INLINED { return load(drawn + i); }, factors);
  if (!by_key) return factors;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t count = starts[r + 1] - starts[r];
    T* row = factors + scratch.factor_starts[r];
    if (!drops_by_place(count, b.n_k)) gather_row(count, scratch.positions + starts[r], row, T(1), row);
  }
  return factors;
}

}  // namespace crisp::CRISP_ISA
