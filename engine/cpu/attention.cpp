// Attention over packed sequences, forward. The unit of work is one (sequence, head): it owns its block of the weights
// and its slice of the output, so that no two threads write the same place and the bits do not depend on who computes
// what. Dense attention multiplies whole matrices; under a selection only the scores are a whole product, and what
// comes after them goes by lists of kept keys.
#include <cmath>

#include "engine/cpu/attention_block.h"
#include "engine/cpu/attention_select.h"
#include "engine/cpu/small_product.h"

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
  const auto s = static_cast<double>(sum);
  return std::log(s) - total / s;
}

// `rows` rows of scores become weights, and in `dropped` what multiplies the values. Returns the entropy, if wanted.
template <class T>
double softmax_rows(const AttentionShape& s, const AttentionBlock& b, int64_t rows, T* scores, const T* factors,
                    T* weights, T* dropped, bool want_entropy) {
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
      const Vec<T> v = load(x + c) - largest, exponential = vexp(v);
      if (want_entropy) store(x + c, v);
      store(e + c, exponential);
      sums += exponential;
    }
    sums = sum_of_lanes<T>(sums);
    if (want_entropy) entropy += row_entropy(b.n_k, x, e, sums[0]);
    const Vec<T> inverse = T(1) / sums;
    T* w = weights + r * b.n_k;
    const T* f = factors ? factors + r * b.n_k : nullptr;
    for (int64_t c = 0; c <= last; c += width) {
      const Vec<T> v = load(e + c) * inverse;
      if (c < last) {
        store(w + c, v);
      } else {
        store_first(w + c, v, in_last);
      }
      if (f) {
        store(e + c, v * load(f + c));
      } else {
        store(e + c, v);
      }
    }
  }
  return entropy;
}

// The same over the kept keys of each row only: from `scores`, whose row r keeps positions starts[r] .. starts[r + 1],
// to lists of numbers in the same order in `dropped`.
template <class T>
double softmax_lists(const AttentionBlock& b, int64_t rows, const AttentionScratch<T>& scratch, const T* factors,
                     T* weights, T* dropped, bool want_entropy) {
  T* x = dropped;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t begin = scratch.starts[r], end = scratch.starts[r + 1];
    const T* row = scratch.scores + r * b.padded;
    T largest = -INFINITY;
    for (int64_t t = begin; t < end; ++t) {
      x[t] = row[scratch.positions[t]];
      largest = x[t] > largest ? x[t] : largest;
    }
    for (int64_t t = begin; t < end; ++t) x[t] -= largest;
  }
  T* e = scratch.scores;  // no longer needed
  const int64_t total = scratch.starts[rows];
  for (int64_t t = 0; t < total; t += lanes<T>) store(e + t, vexp(load(x + t)));
  for (int64_t i = 0; i < rows * b.n_k; ++i) weights[i] = 0;
  double entropy = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t begin = scratch.starts[r], end = scratch.starts[r + 1];
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t t = begin; t < end; ++t) sum += e[t];
    if (want_entropy) entropy += row_entropy(end - begin, x + begin, e + begin, sum);
    const T inverse = T(1) / sum;
    T* w = weights + r * b.n_k;
    const T* f = factors ? factors + r * b.n_k : nullptr;
    for (int64_t t = begin; t < end; ++t) {
      const int32_t j = scratch.positions[t];
      const T v = e[t] * inverse;
      w[j] = v;
      dropped[t] = f ? v * f[j] : v;
    }
  }
  return entropy;
}

// Positions of the keys that each of `rows` rows of scores keeps.
template <class T>
void select_rows(const AttentionShape& s, const AttentionBlock& b, int64_t rows, Int<T> threshold,
                 const AttentionScratch<T>& scratch) {
  const int64_t k = s.selection == Selection::top_k_row ? top_k_count(s.sparsity, b.n_k) : 1;
  scratch.starts[0] = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const T* x = scratch.scores + r * b.padded;
    int32_t* positions = scratch.positions + scratch.starts[r];
#pragma omp simd
    for (int64_t j = 0; j < b.n_k; ++j) scratch.keys[j] = key_of(x[j]);
    int64_t count = 0;
    if (s.selection == Selection::percentile_head)
      count = positions_at_least(scratch.keys, b.n_k, threshold, positions);
    if (count == 0) {  // also where a row has no score at the percentile: then it keeps its largest
      top_k<T>(scratch.keys, b.n_k, k, scratch.ranks, positions);
      count = k;
    }
    scratch.starts[r + 1] = scratch.starts[r] + static_cast<int32_t>(count);
  }
}

// Rows of scores: scale q k'.
template <class T>
void scaled_scores(const AttentionShape& s, const AttentionBlock& b, int64_t first, int64_t rows, const T* q,
                   const AttentionScratch<T>& scratch) {
  const int64_t dim = s.heads * s.head_dim;
  small_product(rows, b.padded, s.head_dim, {q + first * dim, dim, 1}, scratch.transposed, b.padded, scratch.scores,
                b.padded, false);
  const T scale = static_cast<T>(s.scale);
#pragma omp simd
  for (int64_t e = 0; e < rows * b.padded; ++e) scratch.scores[e] *= scale;
}

// The key of the percentile of all of the block's scores.
template <class T>
Int<T> block_threshold(const AttentionShape& s, const AttentionBlock& b, const T* q,
                       const AttentionScratch<T>& scratch) {
  Int<T>* keys = scratch.all_keys;
  for (int64_t first = 0; first < b.n_q; first += b.at_once) {
    const int64_t rows = min_of(b.at_once, b.n_q - first);
    scaled_scores(s, b, first, rows, q, scratch);
    for (int64_t r = 0; r < rows; ++r) {
#pragma omp simd
      for (int64_t j = 0; j < b.n_k; ++j) keys[(first + r) * b.n_k + j] = key_of(scratch.scores[r * b.padded + j]);
    }
  }
  return quantile_key<T>(keys, b.n_q * b.n_k, s.sparsity);
}

// The sum over `rows` rows of the log of the number of keys that each keeps.
CRISP_INLINE double log_counts(int64_t rows, const int32_t* starts) {
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) sum += std::log(static_cast<double>(starts[r + 1] - starts[r]));
  return sum;
}

template <class T>
void block_forward(const AttentionShape& s, const AttentionBlock& b, const AttentionCall<T>& x, void* memory) {
  const int64_t dim = s.heads * s.head_dim, d = s.head_dim;
  const AttentionScratch<T> scratch(s, b, memory);
  const bool sparse = selects(s);
  transpose_padded(b.n_k, d, x.k, dim, scratch.transposed, b.padded);
  const RowSlice<T> values = close_rows<T>(b.n_k, d, {x.v, dim}, scratch.compact_a);
  Int<T> threshold = 0;
  if (sparse && s.selection == Selection::percentile_head) threshold = block_threshold(s, b, x.q, scratch);
  int64_t kept_sum = 0;
  double entropy_sum = 0, log_sum = 0;
  for (int64_t first = 0; first < b.n_q; first += b.at_once) {
    const int64_t rows = min_of(b.at_once, b.n_q - first);
    const T* factors = nullptr;
    if (s.dropout.p > 0) factors = dropout_factors(s.dropout, b.weights + first * b.n_k, rows * b.n_k, scratch.factors);
    T* w = x.weights + first * b.n_k;
    T* o = x.out + first * dim;
    if (!sparse) {
      small_product(rows, b.padded, d, {x.q + first * dim, dim, 1}, scratch.transposed, b.padded, scratch.scores,
                    b.padded, false);
      entropy_sum += softmax_rows(s, b, rows, scratch.scores, factors, w, scratch.weights, x.entropy != nullptr);
      small_product(rows, d, b.n_k, {scratch.weights, b.padded, 1}, values.data, values.row, o, dim, false);
      kept_sum += rows * b.n_k;
      if (x.log_kept) log_sum += static_cast<double>(rows) * std::log(static_cast<double>(b.n_k));
      continue;
    }
    scaled_scores(s, b, first, rows, x.q, scratch);
    select_rows(s, b, rows, threshold, scratch);
    if (x.log_kept) log_sum += log_counts(rows, scratch.starts);
    entropy_sum += softmax_lists(b, rows, scratch, factors, w, scratch.weights, x.entropy != nullptr);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t begin = scratch.starts[r];
      sum_listed_rows(scratch.starts[r + 1] - begin, scratch.positions + begin, scratch.weights + begin, values.data,
                      values.row, d, o + r * dim, false);
    }
    kept_sum += scratch.starts[rows];
  }
  if (x.kept) *x.kept = static_cast<int32_t>(kept_sum);
  if (x.entropy) *x.entropy = entropy_sum;
  if (x.log_kept) *x.log_kept = log_sum;
}

template <class T>
void attention(StreamHandle, const AttentionShape& s, const AttentionCall<T>& call) {
  const Workspaces scratch = reserve_attention_scratch<T>(s);
#pragma omp parallel for schedule(dynamic, 1) if (s.batch * s.heads > 1)
  for (int64_t index = 0; index < s.batch * s.heads; ++index) {
    const AttentionBlock b = attention_block<T>(s, index);
    block_forward<T>(s, b,
                     {.q = call.q + b.q,
                      .k = call.k + b.k,
                      .v = call.v + b.k,
                      .span = call.span,
                      .weights = call.weights + b.weights,
                      .out = call.out + b.q,
                      .kept = call.kept ? call.kept + index : nullptr,
                      .entropy = call.entropy ? call.entropy + index : nullptr,
                      .log_kept = call.log_kept ? call.log_kept + index : nullptr},
                     scratch.mine());
  }
}

}  // namespace

template <class T>
void fill_attention(Kernels<T>& table) {
  table.attention = attention<T>;
}
template void fill_attention(Kernels<float>&);
template void fill_attention(Kernels<double>&);

}  // namespace crisp::CRISP_ISA
