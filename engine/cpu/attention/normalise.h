// From lists of kept scores to weights: softmax, sparsemax, 1.5-entmax; and how rows of weights are left for the
// backward pass.
#pragma once

#include <cmath>

#include "engine/cpu/attention/lists.h"
#include "engine/cpu/simd/math.h"
#include "engine/formulas.h"

namespace crisp::CRISP_ISA {

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

// Leaves a row's weights of the kept keys, w times `factor`, for the backward pass: see is_short() and marked_weight().
// `dropped` are the factors of dropout, null without.
template <class T>
CRISP_INLINE void put_row(int64_t n_k, int64_t count, const int32_t* positions, const T* w, T factor, const T* dropped,
                          T* row, int32_t* row_count) {
  *row_count = static_cast<int32_t>(count);
  const auto weight = [=](auto x) CRISP_INLINED { return x * factor; };
  const auto marked = [=](auto x, auto f) CRISP_INLINED { return marked_weight(x * factor, f); };
  if (is_short(count, n_k)) {
    if (dropped) {
      map_close(marked, count, row, w, dropped);
    } else {
      map_close(weight, count, row, w);
    }
    map_close([](auto x) { return x; }, count, reinterpret_cast<int32_t*>(row + count), positions);
    return;
  }
  for (int64_t j = 0; j < n_k; ++j) row[j] = 0;
  for (int64_t t = 0; t < count; ++t) row[positions[t]] = dropped ? marked(w[t], dropped[t]) : weight(w[t]);
}

// The lanes of v that belong to a list of which `left` elements are left; `other` in the rest.
template <class T>
CRISP_INLINE Vec<T> in_list(Vec<T> v, int64_t left, Vec<T> other) {
  return left >= lanes<T> ? v : (first_indices<Int<T>>() < static_cast<Int<T>>(left) ? v : other);
}

// The softmax over the kept keys of each of `rows` rows: from their scores in scratch.weights, whose row r is at
// starts[r] .. starts[r + 1], to `weights` and `counts`, and in scratch.scores, which are no longer needed, what
// multiplies the values. Whole vectors are written, row after row: what lies behind a row's end is the next one's.
// `factors` are list_factors(). Returns the entropy, if wanted.
template <class T>
double softmax_lists(const AttentionBlock& b, int64_t rows, const AttentionScratch<T>& scratch, const T* factors,
                     T* weights, int32_t* counts, bool want_entropy) {
  using Softmax = formulas::Softmax<Vec<T>, Math>;
  constexpr int64_t width = lanes<T>;
  const Vec<T> nothing = broadcast(static_cast<T>(-INFINITY));
  double entropy = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t begin = scratch.starts[r], count = scratch.starts[r + 1] - begin;
    T *x = scratch.weights + begin, *e = scratch.scores + begin, *row = weights + r * b.n_k;
    const T* f = factors ? factors + scratch.factor_starts[r] : nullptr;
    // A row that will be written, likely as long as this one.
    if (r + 4 < rows) prefetch_row(row + 4 * b.n_k, is_short(count, b.n_k) ? 2 * count : b.n_k);
    Vec<T> largest = nothing;
    for (int64_t t = 0; t < count; t += width) {
      const Vec<T> v = in_list<T>(load(x + t), count - t, nothing);
      largest = v > largest ? v : largest;
    }
    largest = max_of_lanes<T>(largest);
    Vec<T> sums{};
    for (int64_t t = 0; t < count; t += width) {
      const Vec<T> exponential = Softmax::exponential(load(x + t), largest);
      store(e + t, exponential);
      sums += in_list<T>(exponential, count - t, Vec<T>{});
    }
    sums = sum_of_lanes<T>(sums);
    if (want_entropy) {
      for (int64_t t = 0; t < count; ++t) x[t] -= largest[0];
      entropy += row_entropy(count, x, e, sums[0]);
    }
    const Vec<T> inverse = T(1) / sums;
    put_row(b.n_k, count, scratch.positions + begin, e, inverse[0], f, row, counts + r);
    for (int64_t t = 0; t < count; t += width) {
      const Vec<T> v = Softmax::value(load(e + t), inverse);
      store(e + t, f ? formulas::weight_dropout(v, load(f + t)) : v);
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

// Sparsemax and 1.5-entmax, whose Formula computes in f64: scores in scratch.weights become weights, and keys without
// one leave the lists. Returns the entropy, if wanted.
template <class Formula, class T>
double sparse_lists(int64_t rows, const AttentionScratch<T>& scratch, bool want_entropy) {
  T* x = scratch.weights;  // kept weights take the place of scores that have been read
  centre_lists(rows, scratch.starts, x);
  double entropy = 0;
  int32_t out = 0, end = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t begin = end;
    end = scratch.starts[r + 1];
    if constexpr (Formula::score_factor != 1)
      for (int64_t t = begin; t < end; ++t) x[t] *= static_cast<T>(Formula::score_factor);
    const double limit = sparse_threshold<Formula>(end - begin, x + begin);
    for (int32_t t = begin; t < end; ++t) {
      const double over = static_cast<double>(x[t]) - limit;
      if (over <= 0) continue;
      const T v = static_cast<T>(Formula::weight(over));
      if (v == T(0)) continue;
      scratch.positions[out] = scratch.positions[t];
      x[out++] = v;
      if (want_entropy) entropy -= static_cast<double>(v) * std::log(static_cast<double>(v));
    }
    scratch.starts[r + 1] = out;
  }
  return entropy;
}

// What softmax_lists() leaves of such weights.
template <class T>
void put_lists(const AttentionBlock& b, int64_t rows, const AttentionScratch<T>& scratch, const T* factors, T* weights,
               int32_t* counts) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t begin = scratch.starts[r], count = scratch.starts[r + 1] - begin;
    const T *w = scratch.weights + begin, *f = factors ? factors + scratch.factor_starts[r] : nullptr;
    put_row(b.n_k, count, scratch.positions + begin, w, T(1), f, weights + r * b.n_k, counts + r);
    for (int64_t t = 0; t < count; ++t) scratch.scores[begin + t] = f ? formulas::weight_dropout(w[t], f[t]) : w[t];
  }
}

// Dropout's numbers are drawn when the lists are as long as they will stay.
template <class T>
double normalise_lists(const AttentionShape& s, const AttentionBlock& b, int64_t first, int64_t rows,
                       const AttentionScratch<T>& scratch, T* weights, int32_t* counts, bool want_entropy) {
  if (s.normaliser == Normaliser::softmax)
    return softmax_lists(b, rows, scratch, list_factors(s, b, first, rows, scratch), weights, counts, want_entropy);
  const double entropy = s.normaliser == Normaliser::sparsemax
                             ? sparse_lists<formulas::Sparsemax<double, Math>>(rows, scratch, want_entropy)
                             : sparse_lists<formulas::Entmax15<double, Math>>(rows, scratch, want_entropy);
  put_lists(b, rows, scratch, list_factors(s, b, first, rows, scratch), weights, counts);
  return entropy;
}

}  // namespace crisp::CRISP_ISA
