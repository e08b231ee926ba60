// Attention over packed sequences, forward. The unit of work is one (sequence, head): it owns its block of the weights
// and its slice of the output, so that no two threads write the same place and the bits do not depend on who computes
// what. Dense attention multiplies whole matrices; otherwise only the scores are a whole product (not even they, where
// the lists of keys are given), and what comes after them goes by lists of kept keys.
#include <cmath>

#include "engine/cpu/attention/block.h"
#include "engine/cpu/attention/lists.h"
#include "engine/cpu/attention/normalise.h"
#include "engine/cpu/attention/small_product.h"
#include "engine/cpu/simd/math.h"

namespace crisp::CRISP_ISA {
namespace {

// The factors of dropout for all weights of `rows` queries from `first` on; null without dropout.
template <class T>
const T* weight_factors(const AttentionShape& s, const AttentionBlock& b, int64_t first, int64_t rows,
                        const AttentionScratch<T>& scratch) {
  if (!(s.dropout.p > 0)) return nullptr;
  return dropout_factors(s.dropout, b.weights + first * b.n_k, rows * b.n_k, scratch.factors);
}

// `rows` rows of scores become weights, and in `dropped` what multiplies the values. Returns the entropy, if wanted.
template <class T>
double softmax_rows(const AttentionShape& s, const AttentionBlock& b, int64_t rows, T* scores, const T* factors,
                    T* weights, T* dropped, bool want_entropy) {
  using Softmax = formulas::Softmax<Vec<T>, Math>;
  constexpr int64_t width = lanes<T>;
  const int64_t last = b.padded - width, in_last = b.n_k - last;
  const Vec<T> scale = broadcast(static_cast<T>(s.scale)), nothing = broadcast(static_cast<T>(-INFINITY));
  double entropy = 0;
  for (int64_t r = 0; r < rows; ++r) {
    T* x = scores + r * b.padded;
    T* e = dropped + r * b.padded;
    Vec<T> largest = nothing;
    for (int64_t c = 0; c <= last; c += width) {
      Vec<T> v = load(x + c) * scale;
      if (c == last) v = first_indices<Int<T>>() < static_cast<Int<T>>(in_last) ? v : nothing;
      store(x + c, v);
      largest = v > largest ? v : largest;
    }
    largest = max_of_lanes<T>(largest);
    Vec<T> sums{};
    for (int64_t c = 0; c <= last; c += width) {
      const Vec<T> v = load(x + c), exponential = Softmax::exponential(v, largest);
      if (want_entropy) store(x + c, v - largest);
      store(e + c, exponential);
      sums += exponential;
    }
    sums = sum_of_lanes<T>(sums);
    if (want_entropy) entropy += row_entropy(b.n_k, x, e, sums[0]);
    const Vec<T> inverse = T(1) / sums;
    T* w = weights + r * b.n_k;
    const T* f = factors ? factors + r * b.n_k : nullptr;
    for (int64_t c = 0; c <= last; c += width) {
      const Vec<T> v = Softmax::value(load(e + c), inverse), factor = f ? load(f + c) : Vec<T>{};
      const Vec<T> left = f ? marked_weight(v, factor) : v;
      if (c < last) {
        store(w + c, left);
      } else {
        store_first(w + c, left, in_last);
      }
      store(e + c, f ? formulas::weight_dropout(v, factor) : v);
    }
  }
  return entropy;
}

// --- blocks ----------------------------------------------------------------------------------------------------------

// Rows of scores before they are scaled: q k'.
template <class T>
void raw_scores(const AttentionShape& s, const AttentionBlock& b, int64_t first, int64_t rows, const T* q,
                const AttentionScratch<T>& scratch) {
  small_product(rows, b.padded, s.head_dim, {q + first * b.q_row, b.q_row, 1}, scratch.transposed, b.transposed_row,
                scratch.scores, b.padded, false);
}

// The key of the percentile of all of the block's scores.
template <class T>
Int<T> block_threshold(const AttentionShape& s, const AttentionBlock& b, const T* q,
                       const AttentionScratch<T>& scratch) {
  Int<T>* keys = scratch.all_keys;
  const T scale = static_cast<T>(s.scale);
  for (int64_t first = 0; first < b.n_q; first += b.at_once) {
    const int64_t rows = min_of(b.at_once, b.n_q - first);
    raw_scores(s, b, first, rows, q, scratch);
    for (int64_t r = 0; r < rows; ++r) {
#pragma omp simd
      for (int64_t j = 0; j < b.n_k; ++j)
        keys[(first + r) * b.n_k + j] = key_of(scale * scratch.scores[r * b.padded + j]);
    }
  }
  return quantile_key<T>(keys, b.n_q * b.n_k, s.sparsity);
}

// What a block leaves for the statistics.
struct BlockStats {
  double kept = 0, entropy = 0, log_kept = 0;
};

// Whether a block of which k keys a query are kept takes the dense way, with scores of -infinity for the other keys:
// where so many are kept that whole products are faster than lists. A key that was not kept must then not make a NaN of
// its weight of 0.
template <class T>
bool mostly_kept(const AttentionShape& s, const AttentionBlock& b, const AttentionCall<T>& x) {
  return sizeof(T) == 4 && keeps_largest(s) && s.normaliser == Normaliser::softmax && !(s.key_dropout.p > 0) &&
         s.scale > 0 && b.n_k > 0 && !is_short(top_k_count(s.sparsity, b.n_k), b.n_k) &&
         all_finite<T>(b.n_k, s.head_dim, {x.v, b.k_row});
}

// All keys; where by_lists(), the others are masked.
template <class T>
BlockStats dense_forward(const AttentionShape& s, const AttentionBlock& b, const AttentionCall<T>& x,
                         const AttentionScratch<T>& scratch) {
  const int64_t dim = b.dim, d = s.head_dim;
  transpose_padded(b.n_k, d, x.k, b.k_row, scratch.transposed, b.transposed_row);
  const RowSlice<T> values = close_rows<T>(b.n_k, d, {x.v, b.k_row}, scratch.compact_a);
  BlockStats stats;
  ThresholdWindow around;
  for (int64_t first = 0; first < b.n_q; first += b.at_once) {
    const int64_t rows = min_of(b.at_once, b.n_q - first);
    const T* factors = weight_factors(s, b, first, rows, scratch);
    raw_scores(s, b, first, rows, x.q, scratch);
    if constexpr (sizeof(T) == 4) {
      if (by_lists(s)) {
        const int64_t k = top_k_count(s.sparsity, b.n_k);
        for (int64_t r = 0; r < rows; r += lanes<T>)
          stats.kept += static_cast<double>(mask_rows({s, b, first, r, min_of(lanes<T>, rows - r), k, scratch},
                                                      x.stats ? &stats.log_kept : nullptr, around));
        for (int64_t r = 0; r < rows; ++r) x.counts[first + r] = static_cast<int32_t>(b.n_k);  // a weight for each
      }
    }
    stats.entropy += softmax_rows(s, b, rows, scratch.scores, factors, x.weights + first * b.n_k, scratch.weights,
                                  x.stats != nullptr);
    small_product(rows, d, b.n_k, {scratch.weights, b.padded, 1}, values.data, values.row, x.out + first * dim, dim,
                  false);
  }
  if (x.stats && !by_lists(s) && b.n_q > 0) {
    stats.kept = static_cast<double>(b.n_q * b.n_k);
    stats.log_kept = static_cast<double>(b.n_q) * std::log(static_cast<double>(b.n_k));
  }
  return stats;
}

// What lies beside the listed positions: the scaled scores, in scratch.weights, from whole rows of scores where
// `rows_of_keys` is null, else computed one by one.
template <class T>
void gather_beside(const AttentionShape& s, const AttentionBlock& b, int64_t rows, const T* q,
                   const RowSlice<T>* rows_of_keys, const AttentionScratch<T>& scratch) {
  const T scale = static_cast<T>(s.scale);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t begin = scratch.starts[r], count = scratch.starts[r + 1] - begin;
    const int32_t* positions = scratch.positions + begin;
    T* x = scratch.weights + begin;
    if (rows_of_keys) {
      dot_listed_rows(count, positions, q + r * b.q_row, rows_of_keys->data, rows_of_keys->row, s.head_dim, x);
      for (int64_t t = 0; t < count; ++t) x[t] *= scale;
    } else {
      gather_row(count, positions, scratch.scores + r * b.padded, scale, x);
    }
  }
}

// A gate times an exponential is the exponential of the score plus the gate's log.
template <class T>
void add_gates(const AttentionShape& s, int64_t first, int64_t rows, double span, const AttentionScratch<T>& scratch) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t t = scratch.starts[r]; t < scratch.starts[r + 1]; ++t) {
      const double gate = span_gate(s.span_ramp, span, first + r, scratch.positions[t]);
      if (!(gate <= 0 || gate >= 1)) scratch.weights[t] += static_cast<T>(std::log(gate));
    }
  }
}

// Whether a block's scores are better computed key by key than as a product of matrices.
CRISP_INLINE bool few_listed(const AttentionShape& s, const AttentionBlock& b) {
  if (s.selection != Selection::listed || b.n_q == 0) return false;
  const KeyList last = key_list(s, b, b.n_q - 1);
  return 3 * (last.keys + last.count - key_list(s, b, 0).keys) <= b.n_q * b.n_k;
}

template <class T>
BlockStats listed_forward(const AttentionShape& s, const AttentionBlock& b, const AttentionCall<T>& x,
                          const AttentionScratch<T>& scratch) {
  const int64_t dim = b.dim, d = s.head_dim;
  const ColumnGroups<T> values = column_groups<T>(b.n_k, d, {x.v, b.k_row}, scratch.compact_a);
  const bool few = few_listed(s, b);
  RowSlice<T> rows_of_keys{};
  if (few) {
    rows_of_keys = close_rows<T>(b.n_k, d, {x.k, b.k_row}, scratch.compact_b);
  } else {
    transpose_padded(b.n_k, d, x.k, b.k_row, scratch.transposed, b.transposed_row);
  }
  Int<T> limit = 0;
  if (s.selection == Selection::percentile_head) limit = block_threshold(s, b, x.q, scratch);
  if (s.selection == Selection::threshold) limit = key_of(static_cast<T>(s.threshold));
  const double span = x.span ? static_cast<double>(x.span[b.head]) : 0;
  const T* columns = nullptr;
  if (s.key_dropout.p > 0 && s.key_dropout.columns && b.n_q > 0)
    columns = dropout_factors<T>({s.key_dropout.p, s.key_dropout.key}, b.weights, b.n_k, scratch.columns);
  BlockStats stats;
  ThresholdWindow around;
  for (int64_t first = 0; first < b.n_q; first += b.at_once) {
    const int64_t rows = min_of(b.at_once, b.n_q - first);
    if (!few) raw_scores(s, b, first, rows, x.q, scratch);
    if (!select_rows(s, b, first, rows, limit, span, around, scratch))
      gather_beside(s, b, rows, x.q + first * b.q_row, few ? &rows_of_keys : nullptr, scratch);
    if (s.span_ramp > 0) add_gates(s, first, rows, span, scratch);
    if (s.key_dropout.p > 0) drop_keys(s, b, first, rows, columns, scratch);
    if (x.stats)
      for (int64_t r = 0; r < rows; ++r)
        stats.log_kept += std::log(static_cast<double>(scratch.starts[r + 1] - scratch.starts[r]));
    stats.entropy +=
        normalise_lists(s, b, first, rows, scratch, x.weights + first * b.n_k, x.counts + first, x.stats != nullptr);
    sum_lists(rows, scratch.starts, scratch.positions, scratch.scores, values, d, x.out + first * dim, dim, false);
    stats.kept += scratch.starts[rows];
  }
  return stats;
}

template <class T>
void attention(const AttentionShape& s, const AttentionCall<T>& call) {
  for_blocks<T>(
      s, call, [=](int64_t index, const AttentionBlock& b, AttentionCall<T>& x, const AttentionScratch<T>& scratch) {
        x.out += b.out;
        const BlockStats stats =
            by_lists(s) && !mostly_kept(s, b, x) ? listed_forward(s, b, x, scratch) : dense_forward(s, b, x, scratch);
        if (!x.stats) return;
        x.stats[index] = stats.kept;
        x.stats[s.batch * s.heads + index] = stats.entropy;
        x.stats[2 * s.batch * s.heads + index] = stats.log_kept;
      });
}

}  // namespace

void fill_attention(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) { table.attention = attention<T>; });
}

}  // namespace crisp::CRISP_ISA
