// Which keys each query keeps, as lists of positions: by selection, by span, by given lists, by chance. What is kept of
// a row of scores depends on that row, for a percentile on the (sequence, head), and on random numbers whose index is
// that of the weight.
#pragma once

#include <cmath>

#include "engine/cpu/attention/block.h"
#include "engine/cpu/attention/select.h"
#include "engine/cpu/attention/thresholds.h"
#include "engine/formulas.h"

namespace crisp::CRISP_ISA {

CRISP_INLINE bool is_protected(const AttentionShape& s, const AttentionBlock& b, int64_t i, int64_t j) {
  return (s.keep_first && j == 0) || (s.keep_last && j == b.n_k - 1) || (s.keep_diagonal && j == i);
}

CRISP_INLINE bool protects(const AttentionShape& s) { return s.keep_first || s.keep_last || s.keep_diagonal; }

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

/// Whether a query's k largest (or smallest) scores are kept, whatever the other queries' are.
CRISP_INLINE bool keeps_largest(const AttentionShape& s) {
  return s.selection == Selection::top_k_row || s.selection == Selection::top_k_ties ||
         s.selection == Selection::bottom_k;
}

/// Rows of scores whose largest are kept, at most as many as a vector has lanes, from query first + from on.
struct SelectedRows {
  const AttentionShape& s;
  const AttentionBlock& b;
  int64_t first, from, rows, k;
  const AttentionScratch<float>& scratch;

  CRISP_INLINE float* scores(int64_t r) const { return scratch.scores + (from + r) * b.padded; }
  CRISP_INLINE float scale() const {
    return static_cast<float>(s.selection == Selection::bottom_k ? -s.scale : s.scale);
  }
  /// What is compared: the scores, or a copy in which protected keys are NaN.
  CRISP_INLINE const float* compared(int64_t r) const {
    return protects(s) ? scratch.compared + r * b.padded : scores(r);
  }

  [[gnu::noinline]] RowThresholds thresholds(ThresholdWindow& around) const {
    if (protects(s))
      for (int64_t r = 0; r < rows; ++r) {
        float* copy = scratch.compared + r * b.padded;
        for (int64_t j = 0; j < b.padded; j += lanes<float>) store(copy + j, load(scores(r) + j));
        for_protected(s, b, first + from + r, [=](int64_t j) CRISP_INLINED { copy[j] = NAN; });
      }
    if (b.n_k > sorted_scores && !(around.reach > 0)) begin_with_first_row(around);
    return thresholds_of_rows([this](int64_t r) CRISP_INLINED { return compared(r); }, rows, b.n_k, scale(), k, around,
                              scratch.candidates_of_rows);
  }

  /// Around its threshold, a part of the distance of its finite scores (of keys that are not protected).
  void begin_with_first_row(ThresholdWindow& around) const {
    int32_t* keys = scratch.keys;
    row_keys(s, b, first + from, scores(0), keys);
    around.centre = score_of<float>(keep_largest<float>(keys, b.n_k, k, KeyRange(keys, b.n_k)).key);
    const int32_t no_more = key_of<float>(INFINITY), no_less = key_of<float>(-INFINITY);
    int32_t low = no_more, high = no_less;
    for (int64_t j = 0; j < b.n_k; ++j) {
      low = keys[j] < low && keys[j] > no_less ? keys[j] : low;
      high = keys[j] > high && keys[j] < no_more ? keys[j] : high;
    }
    around.reach = score_of<float>(high) / 16 - score_of<float>(low) / 16;
  }

  /// Whether a threshold says which keys are kept.
  CRISP_INLINE bool says(const RowThresholds& thresholds, int64_t r) const {
    return thresholds.count[r] == k || (thresholds.count[r] > k && s.selection == Selection::top_k_ties);
  }
  /// Else: the positions of these keys; how many.
  CRISP_INLINE int64_t positions(int64_t r, int32_t* positions) const {
    return select_row<float>(s, b, first + from + r, k, scores(r), 0, nullptr, scratch, positions);
  }
};

/// Lists of the k largest scores of such queries: their part of select_rows(), with what lies beside the positions.
inline void select_largest_of_rows(const SelectedRows& x, ThresholdWindow& around) {
  const RowThresholds thresholds = x.thresholds(around);
  const AttentionScratch<float>& scratch = x.scratch;
  const Vec<float> compared_scale = broadcast(x.scale()), scale = broadcast(static_cast<float>(x.s.scale));
  for (int64_t r = 0; r < x.rows; ++r) {
    int32_t* starts = scratch.starts + x.from + r;
    int32_t* positions = scratch.positions + starts[0];
    float* listed = scratch.weights + starts[0];
    const float *scores = x.scores(r), *compared = x.compared(r);
    int64_t count = 0;
    if (x.says(thresholds, r)) {
      const Vec<float> limit = broadcast(thresholds.limit[r]);
      Vec<int32_t> index = first_indices<int32_t>();
      for (int64_t j = 0; j < x.b.n_k; j += lanes<float>, index += lanes<int32_t>) {
        const LaneBits kept = not_less(compared_scale * load(compared + j), limit) & first_lanes<float>(x.b.n_k - j);
        store_compressed(positions + count, index, kept);
        store_compressed(listed + count, scale * load(scores + j), kept);
        count += count_lanes(kept);
      }
    } else {
      count = x.positions(r, positions);
      gather_row(count, positions, scores, scale[0], listed);
    }
    starts[1] = starts[0] + static_cast<int32_t>(count);
  }
}

/// The other way to keep them: all other scores become -infinity. Returns how many are kept in all; to log_kept, unless
/// it is null, are added the logs of how many each row keeps.
inline int64_t mask_rows(const SelectedRows& x, double* log_kept, ThresholdWindow& around) {
  const RowThresholds thresholds = x.thresholds(around);
  const Vec<float> scale = broadcast(x.scale()), nothing = broadcast(-INFINITY);
  int64_t kept = 0;
  for (int64_t r = 0; r < x.rows; ++r) {
    float* scores = x.scores(r);
    const float* compared = x.compared(r);
    int64_t count = x.k;
    if (x.says(thresholds, r)) {
      const Vec<float> limit = broadcast(thresholds.limit[r]);
      if (thresholds.count[r] > x.k) count = detail::count_not_less(compared, x.b.n_k, scale, limit);
      for (int64_t j = 0; j < x.b.n_k; j += lanes<float>)
        store(scores + j, scale * load(compared + j) < limit ? nothing : load(scores + j));
    } else {
      int32_t* positions = x.scratch.positions;
      float* listed = x.scratch.candidates_of_rows;
      count = x.positions(r, positions);
      gather_row(count, positions, scores, 1.0f, listed);
      for (int64_t j = 0; j < x.b.n_k; ++j) scores[j] = -INFINITY;
      for (int64_t t = 0; t < count; ++t) scores[positions[t]] = listed[t];
    }
    kept += count;
    if (log_kept) *log_kept += std::log(static_cast<double>(count));
  }
  return kept;
}

/// The lists of `rows` queries from `first` on, into scratch.positions and scratch.starts; scratch.scores are their
/// scores before they are scaled, which Selection::listed and a span do without. Returns whether the scaled scores lie
/// beside the positions already, in scratch.weights.
template <class T>
bool select_rows(const AttentionShape& s, const AttentionBlock& b, int64_t first, int64_t rows, Int<T> limit,
                 double span, ThresholdWindow& around, const AttentionScratch<T>& scratch) {
  const int64_t k = top_k_count(s.sparsity, b.n_k);
  const T* chance = nullptr;
  if (s.selection == Selection::drop_top)
    chance = dropout_factors<T>({s.drop_p, s.drop_key}, b.weights + first * b.n_k, rows * b.n_k, scratch.chance);
  scratch.starts[0] = 0;
  if constexpr (sizeof(T) == 4) {
    if (keeps_largest(s) && rows > 1) {
      for (int64_t r = 0; r < rows; r += lanes<T>)
        select_largest_of_rows({s, b, first, r, min_of(lanes<T>, rows - r), k, scratch}, around);
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
