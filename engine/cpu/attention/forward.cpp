// Attention over packed sequences, forward. The unit of work is one (sequence, head): it owns its block of the weights
// and its slice of the output, so that no two threads write the same place and the bits do not depend on who computes
// what. Dense attention multiplies whole matrices; otherwise only the scores are a whole product (not even they, where
// the lists of keys are given), and what comes after them goes by lists of kept keys.
#include <cmath>

#include "engine/cpu/attention/block.h"
#include "engine/cpu/attention/lists.h"
#include "engine/cpu/attention/small_product.h"
#include "engine/cpu/simd/math.h"

namespace crisp::CRISP_ISA {
namespace {

// The entropy of a row of weights exp(x) / sum, from x and exp(x): -sum of p log p = log sum - sum of p x.
template <class T>
double row_entropy(int64_t n, const T* x, const T* exponentials, T sum) {
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < n; ++j) {
    const auto e = static_cast<double>(exponentials[j]), product = e * static_cast<double>(x[j]);
    total += e == 0 ? 0 : product;  // x may be -infinity there
  }
  return formulas::Softmax<double, Math>::entropy(static_cast<double>(sum), total);
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
      const Vec<T> v = Softmax::value(load(e + c), inverse);
      if (c < last) {
        store(w + c, v);
      } else {
        store_first(w + c, v, in_last);
      }
      store(e + c, f ? formulas::weight_dropout(v, load(f + c)) : v);
    }
  }
  return entropy;
}

// --- from lists of kept scores to weights ----------------------------------------------------------------------------

// Subtracts each row's largest score.
template <class T>
CRISP_INLINE void centre_lists(int64_t rows, const int32_t* starts, T* x) {
  constexpr int64_t width = lanes<T>;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t end = starts[r + 1];
    Vec<T> best = broadcast(static_cast<T>(-INFINITY));
    int64_t t = starts[r];
    for (; t + width <= end; t += width) {
      const Vec<T> v = load(x + t);
      best = v > best ? v : best;
    }
    T largest = max_of_lanes<T>(best)[0];
    for (; t < end; ++t) largest = x[t] > largest ? x[t] : largest;
    for (t = starts[r]; t < end; ++t) x[t] -= largest;
  }
}

// Leaves a row's weights of the kept keys, w times `factor`, for the backward pass: see is_short().
template <class T>
CRISP_INLINE void put_row(int64_t n_k, int64_t count, const int32_t* positions, const T* w, T factor, T* row,
                          int32_t* row_count) {
  *row_count = static_cast<int32_t>(count);
  if (is_short(count, n_k)) {
    map_close(count, w, row, [=](auto x) CRISP_INLINED { return x * factor; });
    map_close(count, positions, reinterpret_cast<int32_t*>(row + count), [](auto x) { return x; });
    return;
  }
  for (int64_t j = 0; j < n_k; ++j) row[j] = 0;
  for (int64_t t = 0; t < count; ++t) row[positions[t]] = w[t] * factor;
}

// The softmax over the kept keys of each of `rows` rows: from their scores in scratch.weights, whose row r is at
// starts[r] .. starts[r + 1], to `weights` and `counts`, and in scratch.weights what multiplies the values. Returns
// the entropy, if wanted.
template <class T>
double softmax_lists(const AttentionBlock& b, int64_t rows, const AttentionScratch<T>& scratch, const T* factors,
                     T* weights, int32_t* counts, bool want_entropy) {
  using Softmax = formulas::Softmax<T, Math>;
  T* x = scratch.weights;
  centre_lists(rows, scratch.starts, x);
  T* e = scratch.scores;  // no longer needed
  const int64_t total = scratch.starts[rows];
  for (int64_t t = 0; t < total; t += lanes<T>) store(e + t, Math::exp(load(x + t)));
  double entropy = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t begin = scratch.starts[r], end = scratch.starts[r + 1];
    Vec<T> sums{};
    int64_t whole = begin;
    for (; whole + lanes<T> <= end; whole += lanes<T>) sums += load(e + whole);
    sums += load_first(e + whole, end - whole);
    const T sum = sum_of_lanes<T>(sums)[0];
    if (want_entropy) entropy += row_entropy(end - begin, x + begin, e + begin, sum);
    const T inverse = T(1) / sum;
    put_row(b.n_k, end - begin, scratch.positions + begin, e + begin, inverse, weights + r * b.n_k, counts + r);
    if (factors) {
      const T* f = factors + r * b.n_k;
      for (int64_t t = begin; t < end; ++t)
        x[t] = formulas::weight_dropout(Softmax::value(e[t], inverse), f[scratch.positions[t]]);
    } else {
#pragma omp simd
      for (int64_t t = begin; t < end; ++t) x[t] = Softmax::value(e[t], inverse);
    }
  }
  return entropy;
}

// The t for which the weights of x - t add up to 1, for scores x whose largest is 0: Newton's method from t = -1,
// where the sum is at least 1. The sum falls and is convex in t, so the steps never go past the solution; for
// sparsemax they end on it, because it is linear between two scores. NaN where a score is.
template <class Formula, class T>
double sparse_threshold(int64_t n, const T* x) {
  int32_t broken = 0;
#pragma omp simd reduction(+ : broken)
  for (int64_t j = 0; j < n; ++j) broken += x[j] != x[j];
  if (broken > 0) return NAN;
  double t = -1;
  for (int64_t step = 0; step < n + 64; ++step) {
    double weights = 0, slopes = 0;
#pragma omp simd reduction(+ : weights, slopes)
    for (int64_t j = 0; j < n; ++j) {
      const double above = static_cast<double>(x[j]) - t, over = above > 0 ? above : 0;
      weights += Formula::weight(over);
      slopes += Formula::slope(over);
    }
    const double next = formulas::next_threshold<Formula>(t, weights, slopes);
    if (!(next > t)) break;
    t = next;
  }
  return t;
}

// Sparsemax and 1.5-entmax, whose Formula computes in f64, as softmax_lists(). Keys without a weight leave the lists.
template <class Formula, class T>
double sparse_lists(const AttentionBlock& b, int64_t rows, const AttentionScratch<T>& scratch, const T* factors,
                    T* weights, int32_t* counts, bool want_entropy) {
  T *x = scratch.weights, *w = scratch.scores;  // the scores are no longer needed
  centre_lists(rows, scratch.starts, x);
  double entropy = 0;
  int32_t out = 0, end = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t begin = end;
    end = scratch.starts[r + 1];
    if constexpr (Formula::score_factor != 1)
      for (int64_t t = begin; t < end; ++t) x[t] *= static_cast<T>(Formula::score_factor);
    const double limit = sparse_threshold<Formula>(end - begin, x + begin);
    const T* f = factors ? factors + r * b.n_k : nullptr;
    const int32_t kept = out;
    for (int32_t t = begin; t < end; ++t) {
      const double over = static_cast<double>(x[t]) - limit;
      if (over <= 0) continue;
      const T v = static_cast<T>(Formula::weight(over));
      if (v == T(0)) continue;
      const int32_t j = scratch.positions[t];
      scratch.positions[out] = j;
      w[out] = v;
      x[out++] = f ? formulas::weight_dropout(v, f[j]) : v;
      if (want_entropy) entropy -= static_cast<double>(v) * std::log(static_cast<double>(v));
    }
    scratch.starts[r + 1] = out;
    put_row(b.n_k, out - kept, scratch.positions + kept, w + kept, T(1), weights + r * b.n_k, counts + r);
  }
  return entropy;
}

template <class T>
CRISP_INLINE double normalise_lists(const AttentionShape& s, const AttentionBlock& b, int64_t rows,
                                    const AttentionScratch<T>& scratch, const T* factors, T* weights, int32_t* counts,
                                    bool want_entropy) {
  if (s.normaliser == Normaliser::sparsemax)
    return sparse_lists<formulas::Sparsemax<double, Math>>(b, rows, scratch, factors, weights, counts, want_entropy);
  if (s.normaliser == Normaliser::entmax15)
    return sparse_lists<formulas::Entmax15<double, Math>>(b, rows, scratch, factors, weights, counts, want_entropy);
  return softmax_lists(b, rows, scratch, factors, weights, counts, want_entropy);
}

// --- blocks ----------------------------------------------------------------------------------------------------------

// Rows of scores before they are scaled: q k'.
template <class T>
void raw_scores(const AttentionShape& s, const AttentionBlock& b, int64_t first, int64_t rows, const T* q,
                const AttentionScratch<T>& scratch) {
  small_product(rows, b.padded, s.head_dim, {q + first * b.q_row, b.q_row, 1}, scratch.transposed, b.padded,
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

template <class T>
BlockStats dense_forward(const AttentionShape& s, const AttentionBlock& b, const AttentionCall<T>& x,
                         const AttentionScratch<T>& scratch) {
  const int64_t dim = b.dim, d = s.head_dim;
  transpose_padded(b.n_k, d, x.k, b.k_row, scratch.transposed, b.padded);
  const RowSlice<T> values = close_rows<T>(b.n_k, d, {x.v, b.k_row}, scratch.compact_a);
  BlockStats stats{.kept = static_cast<double>(b.n_q * b.n_k)};
  for (int64_t first = 0; first < b.n_q; first += b.at_once) {
    const int64_t rows = min_of(b.at_once, b.n_q - first);
    const T* factors = weight_factors(s, b, first, rows, scratch);
    raw_scores(s, b, first, rows, x.q, scratch);
    stats.entropy += softmax_rows(s, b, rows, scratch.scores, factors, x.weights + first * b.n_k, scratch.weights,
                                  x.stats != nullptr);
    small_product(rows, d, b.n_k, {scratch.weights, b.padded, 1}, values.data, values.row, x.out + first * dim, dim,
                  false);
  }
  if (x.stats && b.n_q > 0) stats.log_kept = static_cast<double>(b.n_q) * std::log(static_cast<double>(b.n_k));
  return stats;
}

// The scaled scores of the listed keys, in scratch.weights: from whole rows of scores where `rows_of_keys` is null,
// else computed one by one.
template <class T>
void gather_scores(const AttentionShape& s, const AttentionBlock& b, int64_t rows, const T* q,
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
    transpose_padded(b.n_k, d, x.k, b.k_row, scratch.transposed, b.padded);
  }
  Int<T> limit = 0;
  if (s.selection == Selection::percentile_head) limit = block_threshold(s, b, x.q, scratch);
  if (s.selection == Selection::threshold) limit = key_of(static_cast<T>(s.threshold));
  const double span = x.span ? static_cast<double>(x.span[b.head]) : 0;
  const T* columns = nullptr;
  if (s.key_dropout.p > 0 && s.key_dropout.columns && b.n_q > 0)
    columns = dropout_factors<T>({s.key_dropout.p, s.key_dropout.key}, b.weights, b.n_k, scratch.columns);
  BlockStats stats;
  ThresholdHint<T> hint;
  for (int64_t first = 0; first < b.n_q; first += b.at_once) {
    const int64_t rows = min_of(b.at_once, b.n_q - first);
    const T* factors = weight_factors(s, b, first, rows, scratch);
    if (!few) raw_scores(s, b, first, rows, x.q, scratch);
    if (!select_rows(s, b, first, rows, limit, span, hint, scratch))
      gather_scores(s, b, rows, x.q + first * b.q_row, few ? &rows_of_keys : nullptr, scratch);
    if (s.span_ramp > 0) add_gates(s, first, rows, span, scratch);
    if (s.key_dropout.p > 0) drop_keys(s, b, first, rows, columns, scratch.weights, scratch);
    if (x.stats)
      for (int64_t r = 0; r < rows; ++r)
        stats.log_kept += std::log(static_cast<double>(scratch.starts[r + 1] - scratch.starts[r]));
    stats.entropy +=
        normalise_lists(s, b, rows, scratch, factors, x.weights + first * b.n_k, x.counts + first, x.stats != nullptr);
    sum_lists(rows, scratch.starts, scratch.positions, scratch.weights, values, d, x.out + first * dim, dim, false);
    stats.kept += scratch.starts[rows];
  }
  return stats;
}

template <class T>
void attention(const AttentionShape& s, const AttentionCall<T>& call) {
  for_blocks<T>(
      s, call, [=](int64_t index, const AttentionBlock& b, AttentionCall<T>& x, const AttentionScratch<T>& scratch) {
        x.out += b.out;
        const BlockStats stats = by_lists(s) ? listed_forward(s, b, x, scratch) : dense_forward(s, b, x, scratch);
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
