// Attention over packed sequences. The unit of work is one (sequence, head): it owns its block of the weights, its
// slice of the output and of every gradient, so that no two threads write the same place and the bits do not depend on
// who computes what.
#include <cmath>

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/dropout.h"
#include "engine/cpu/math.h"

namespace crisp::CRISP_ISA {
namespace {

// Orders NaN above everything, so that a broken score is kept and shows up in the loss instead of vanishing.
template <class T>
CRISP_INLINE bool greater(T a, T b) {
  return a > b || (a != a && b == b);
}

// Hoare's selection: afterwards values[k] is the element of rank k in descending order, larger ones before it.
template <class T>
T select_descending(T* values, int64_t n, int64_t k) {
  int64_t low = 0, high = n - 1;
  while (low < high) {
    const T pivot = values[low + (high - low) / 2];
    int64_t i = low, j = high;
    while (i <= j) {
      while (greater(values[i], pivot)) ++i;
      while (greater(pivot, values[j])) --j;
      if (i <= j) {
        const T swapped = values[i];
        values[i++] = values[j];
        values[j--] = swapped;
      }
    }
    if (k <= j) {
      high = j;
    } else if (k >= i) {
      low = i;
    } else {
      break;
    }
  }
  return values[k];
}

// Marks the k largest of n scores with 1, the others with 0; of equal scores the earlier ones win. `work` holds n.
template <class T>
void keep_top_k(const T* scores, int64_t n, int64_t k, T* work, uint8_t* kept) {
  for (int64_t j = 0; j < n; ++j) work[j] = scores[j];
  const T threshold = select_descending(work, n, k - 1);
  int64_t above = 0;
  for (int64_t j = 0; j < n; ++j) above += greater(scores[j], threshold);
  int64_t equal = k - above;
  for (int64_t j = 0; j < n; ++j) {
    const bool is_equal = !greater(scores[j], threshold) && !greater(threshold, scores[j]);
    kept[j] = greater(scores[j], threshold) || (is_equal && equal > 0);
    if (is_equal) --equal;
  }
}

// The quantile of n scores with linear interpolation between order statistics, as numpy.quantile and torch.quantile.
template <class T>
T quantile(const T* scores, int64_t n, double q, T* work) {
  for (int64_t j = 0; j < n; ++j) work[j] = scores[j];
  const double position = q * static_cast<double>(n - 1);
  const auto below = static_cast<int64_t>(position);
  const T fraction = static_cast<T>(position - static_cast<double>(below));
  // Ascending rank `below` is descending rank n - 1 - below; after the selection the next one up is the smallest before
  // it.
  const int64_t rank = n - 1 - below;
  const T low = select_descending(work, n, rank);
  if (rank == 0 || fraction == 0) return low;
  T high = work[0];
  for (int64_t j = 1; j < rank; ++j) high = greater(high, work[j]) ? work[j] : high;
  return low + fraction * (high - low);
}

// The keys that each query keeps: [n_q, n_k] of 0 and 1.
template <class T>
void select_keys(const AttentionShape& s, int64_t n_q, int64_t n_k, const T* scores, T* work, uint8_t* kept) {
  if (s.selection == Selection::top_k_row) {
    const int64_t k = top_k_count(s.sparsity, n_k);
    for (int64_t i = 0; i < n_q; ++i) keep_top_k(scores + i * n_k, n_k, k, work, kept + i * n_k);
    return;
  }
  const T threshold = quantile(scores, n_q * n_k, s.sparsity, work);
  for (int64_t i = 0; i < n_q; ++i) {
    int64_t best = 0;
    bool any = false;
    for (int64_t j = 0; j < n_k; ++j) {
      const T score = scores[i * n_k + j];
      kept[i * n_k + j] = !greater(threshold, score);
      any = any || kept[i * n_k + j];
      if (greater(score, scores[i * n_k + best])) best = j;
    }
    if (!any) kept[i * n_k + best] = 1;
  }
}

// One row of scores becomes its softmax over the kept keys (kept may be null: all). Returns the entropy.
template <class T>
double softmax_row(int64_t n, const uint8_t* kept, T* row, bool want_entropy) {
  T largest = -INFINITY;
  for (int64_t j = 0; j < n; ++j)
    if ((!kept || kept[j]) && greater(row[j], largest)) largest = row[j];
  T sum = 0;
  if (kept) {
    for (int64_t j = 0; j < n; ++j) {
      row[j] = kept[j] ? vexp(row[j] - largest) : T(0);
      sum += row[j];
    }
  } else {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) row[j] = vexp(row[j] - largest);
    for (int64_t j = 0; j < n; ++j) sum += row[j];  // in the order of the masked branch: sparsity 0 has dense's bits
  }
  const T inverse = T(1) / sum;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) row[j] *= inverse;
  double entropy = 0;
  if (want_entropy) {
    for (int64_t j = 0; j < n; ++j) {
      const auto p = static_cast<double>(row[j]);
      if (p > 0) entropy -= p * std::log(p);
    }
  }
  return entropy;
}

template <class T>
CRISP_INLINE T dot(const T* a, const T* b, int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

template <class T>
CRISP_INLINE void add_scaled(T* out, T factor, const T* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] += factor * x[i];
}

// One (sequence, head): where its parts lie.
struct Block {
  int64_t n_q, n_k;
  int64_t q, k;     // offset of its first query's and key's slice
  int64_t weights;  // offset of its weights
};

CRISP_INLINE Block block_of(const AttentionShape& s, int64_t index) {
  const int64_t sequence = index / s.heads, head = index % s.heads;
  const int64_t dim = s.heads * s.head_dim;
  const int64_t n_q = s.q_offsets[sequence + 1] - s.q_offsets[sequence];
  const int64_t n_k = s.kv_offsets[sequence + 1] - s.kv_offsets[sequence];
  return {n_q, n_k, s.q_offsets[sequence] * dim + head * s.head_dim, s.kv_offsets[sequence] * dim + head * s.head_dim,
          s.weight_offsets[sequence] + head * n_q * n_k};
}

CRISP_INLINE bool selects(const AttentionShape& s) { return s.selection != Selection::all && s.sparsity > 0; }

// Scratch for every thread, enough for the largest block, since chance decides which thread meets that one: a row of
// dropout factors and one of gradients; to select keys, a copy of the scores and the marks of the kept ones.
template <class T>
Workspaces reserve_scratch(const AttentionShape& s) {
  size_t largest = 0;
  for (int64_t sequence = 0; sequence < s.batch; ++sequence) {
    const Block b = block_of(s, sequence * s.heads);
    const size_t scores = selects(s) ? static_cast<size_t>(b.n_q * b.n_k) : 0;
    const size_t bytes = (2 * static_cast<size_t>(b.n_k) + scores) * sizeof(T) + scores * sizeof(uint8_t);
    largest = largest < bytes ? bytes : largest;
  }
  return reserve_workspaces(largest);
}

template <class T>
void attention_block(const AttentionShape& s, const Block& b, const T* q, const T* k, const T* v, T* weights, T* out,
                     int32_t* kept_count, double* entropy, T* work) {
  const int64_t dim = s.heads * s.head_dim, d = s.head_dim;
  for (int64_t i = 0; i < b.n_q; ++i)
    for (int64_t j = 0; j < b.n_k; ++j)
      weights[i * b.n_k + j] = static_cast<T>(s.scale) * dot(q + i * dim, k + j * dim, d);

  const bool sparse = selects(s);
  const auto scores = static_cast<size_t>(b.n_q * b.n_k);
  T* factors = work + (sparse ? scores : 0);
  uint8_t* kept = sparse ? reinterpret_cast<uint8_t*>(factors + b.n_k) : nullptr;
  if (sparse) select_keys(s, b.n_q, b.n_k, weights, work, kept);
  double entropy_sum = 0;
  for (int64_t i = 0; i < b.n_q; ++i)
    entropy_sum += softmax_row(b.n_k, kept ? kept + i * b.n_k : nullptr, weights + i * b.n_k, entropy != nullptr);
  if (entropy) *entropy = entropy_sum;
  if (kept_count) {
    int32_t count = static_cast<int32_t>(scores);
    if (kept) {
      count = 0;
      for (size_t e = 0; e < scores; ++e) count += kept[e];
    }
    *kept_count = count;
  }

  for (int64_t i = 0; i < b.n_q; ++i) {
    if (s.dropout.p > 0) dropout_factors(s.dropout, b.weights + i * b.n_k, b.n_k, factors);
    T* row = out + i * dim;
    for (int64_t c = 0; c < d; ++c) row[c] = 0;
    for (int64_t j = 0; j < b.n_k; ++j) {
      if (kept && !kept[i * b.n_k + j]) continue;
      const T w = weights[i * b.n_k + j];
      add_scaled(row, s.dropout.p > 0 ? w * factors[j] : w, v + j * dim, d);
    }
  }
}

// With A the weights, D the dropout factors and P = A D: dV = P' dO; dP = dO V'; dA = dP D;
// dS = A (dA - sum_j dA A); dQ = scale dS K; dK = scale dS' Q. Keys that were not selected have A = 0, hence dS = 0,
// and cost nothing (engine/kernels.h says what that means for infinities).
template <class T>
void attention_block_backward(const AttentionShape& s, const Block& b, const T* q, const T* k, const T* v,
                              const T* weights, const T* dout, T* dq, double beta_q, T* dk, double beta_k, T* dv,
                              double beta_v, T* ds) {
  const int64_t dim = s.heads * s.head_dim, d = s.head_dim;
  const auto clear = [&](T* grad, int64_t rows, double beta) {
    if (!grad || beta != 0) return;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t c = 0; c < d; ++c) grad[i * dim + c] = 0;
  };
  clear(dq, b.n_q, beta_q);
  clear(dk, b.n_k, beta_k);
  clear(dv, b.n_k, beta_v);
  const bool sparse = selects(s);
  T* factors = ds + b.n_k;
  for (int64_t i = 0; i < b.n_q; ++i) {
    if (s.dropout.p > 0) dropout_factors(s.dropout, b.weights + i * b.n_k, b.n_k, factors);
    const T* a = weights + i * b.n_k;
    const T* d_row = dout + i * dim;
    T sum = 0;
    for (int64_t j = 0; j < b.n_k; ++j) {
      ds[j] = 0;
      if (sparse && a[j] == 0) continue;
      const T f = s.dropout.p > 0 ? factors[j] : T(1);
      if (f == 0) continue;
      ds[j] = f * dot(d_row, v + j * dim, d);
      sum += ds[j] * a[j];
      if (dv) add_scaled(dv + j * dim, a[j] * f, d_row, d);
    }
    if (!dq && !dk) continue;
    for (int64_t j = 0; j < b.n_k; ++j) {
      if (sparse && a[j] == 0) continue;
      const T g = static_cast<T>(s.scale) * a[j] * (ds[j] - sum);
      if (dq) add_scaled(dq + i * dim, g, k + j * dim, d);
      if (dk) add_scaled(dk + j * dim, g, q + i * dim, d);
    }
  }
}

template <class T>
void attention(StreamHandle, const AttentionShape& s, const T* q, const T* k, const T* v, T* weights, T* out,
               int32_t* kept, double* entropy) {
  const Workspaces scratch = reserve_scratch<T>(s);
#pragma omp parallel for schedule(dynamic, 4) if (s.batch * s.heads > 1)
  for (int64_t index = 0; index < s.batch * s.heads; ++index) {
    const Block b = block_of(s, index);
    attention_block(s, b, q + b.q, k + b.k, v + b.k, weights + b.weights, out + b.q, kept ? kept + index : nullptr,
                    entropy ? entropy + index : nullptr, static_cast<T*>(scratch.mine()));
  }
}

template <class T>
void attention_backward(StreamHandle, const AttentionShape& s, const T* q, const T* k, const T* v, const T* weights,
                        const T* dout, T* dq, double beta_q, T* dk, double beta_k, T* dv, double beta_v) {
  const Workspaces scratch = reserve_scratch<T>(s);
#pragma omp parallel for schedule(dynamic, 4) if (s.batch * s.heads > 1)
  for (int64_t index = 0; index < s.batch * s.heads; ++index) {
    const Block b = block_of(s, index);
    attention_block_backward(s, b, q + b.q, k + b.k, v + b.k, weights + b.weights, dout + b.q, dq ? dq + b.q : nullptr,
                             beta_q, dk ? dk + b.k : nullptr, beta_k, dv ? dv + b.k : nullptr, beta_v,
                             static_cast<T*>(scratch.mine()));
  }
}

}  // namespace

template <class T>
void fill_attention(Kernels<T>& table) {
  table.attention = attention<T>;
  table.attention_backward = attention_backward<T>;
}
template void fill_attention(Kernels<float>&);
template void fill_attention(Kernels<double>&);

}  // namespace crisp::CRISP_ISA
