// Attention, backward. With A the weights, D the dropout factors and P = A D: dV = P' dO; dP = dO V'; dA = dP D;
// dS = A (dA - sum_j dA A); dQ = scale dS K; dK = scale dS' Q. Keys that were not selected have A = 0, hence dS = 0:
// under a selection these products go by lists of the kept keys (engine/kernels.h says what that means for infinities).
#include "engine/cpu/attention_block.h"
#include "engine/cpu/attention_select.h"
#include "engine/cpu/small_product.h"

namespace crisp::CRISP_ISA {
namespace {

// From dP in scratch.scores and the weights: there becomes dS times the scale, and P in scratch.weights.
template <class T>
void softmax_rows_backward(const AttentionShape& s, const AttentionBlock& b, int64_t rows, const T* weights,
                           const T* factors, const AttentionScratch<T>& scratch) {
  constexpr int64_t width = lanes<T>;
  const int64_t last = b.padded - width, in_last = b.n_k - last;
  const Vec<T> scale = broadcast(static_cast<T>(s.scale));
  for (int64_t r = 0; r < rows; ++r) {
    T* g = scratch.scores + r * b.padded;
    T* p = scratch.weights + r * b.padded;
    const T* w = weights + r * b.n_k;
    const T* f = factors ? factors + r * b.n_k : nullptr;
    Vec<T> sums{};
    for (int64_t c = 0; c <= last; c += width) {
      const Vec<T> a = c < last ? load(w + c) : load_first(w + c, in_last);
      Vec<T> dropped = a, gradient = load(g + c);
      if (f) {
        const Vec<T> factor = load(f + c);
        dropped = a * factor;
        gradient = factor == T(0) ? Vec<T>{} : gradient * factor;
      }
      if (c == last) gradient = first_indices<Int<T>>() < static_cast<Int<T>>(in_last) ? gradient : Vec<T>{};
      store(p + c, dropped);
      store(g + c, gradient);
      sums += gradient * a;
    }
    sums = sum_of_lanes<T>(sums);
    for (int64_t c = 0; c <= last; c += width) {
      const Vec<T> a = c < last ? load(w + c) : load_first(w + c, in_last);
      store(g + c, scale * a * (load(g + c) - sums));
    }
  }
}

template <class T>
void dense_backward(const AttentionShape& s, const AttentionBlock& b, const AttentionGradient<T>& x, void* memory) {
  const int64_t dim = s.heads * s.head_dim, d = s.head_dim;
  const AttentionScratch<T> scratch(s, b, memory);
  transpose_padded(b.n_k, d, x.v, dim, scratch.transposed, b.padded);
  const RowSlice<T> keys = close_rows<T>(b.n_k, d, {x.k, dim}, scratch.compact_a);
  for (int64_t first = 0; first < b.n_q; first += b.at_once) {
    const int64_t rows = min_of(b.at_once, b.n_q - first);
    const T* factors = nullptr;
    if (s.dropout.p > 0) factors = dropout_factors(s.dropout, b.weights + first * b.n_k, rows * b.n_k, scratch.factors);
    const T* d_rows = x.dout + first * dim;
    small_product(rows, b.padded, d, {d_rows, dim, 1}, scratch.transposed, b.padded, scratch.scores, b.padded, false);
    softmax_rows_backward(s, b, rows, x.weights + first * b.n_k, factors, scratch);
    const MatrixView<T> p_columns{scratch.weights, 1, b.padded}, g_columns{scratch.scores, 1, b.padded};
    if (x.dq)
      small_product(rows, d, b.n_k, {scratch.scores, b.padded, 1}, keys.data, keys.row, x.dq + first * dim, dim,
                    x.beta_q != 0);
    if (x.dk) {
      const RowSlice<T> q = close_rows<T>(rows, d, {x.q + first * dim, dim}, scratch.compact_b);
      small_product(b.n_k, d, rows, g_columns, q.data, q.row, x.dk, dim, first > 0 || x.beta_k != 0);
    }
    if (x.dv) {
      const RowSlice<T> near = close_rows<T>(rows, d, {d_rows, dim}, scratch.compact_c);
      small_product(b.n_k, d, rows, p_columns, near.data, near.row, x.dv, dim, first > 0 || x.beta_v != 0);
    }
  }
}

// gradient = sums + beta gradient; sums may be null: zeros.
template <class T>
void put_slice(int64_t rows, int64_t cols, const T* sums, T* gradient, int64_t row, double beta) {
  if (!gradient) return;
  for (int64_t i = 0; i < rows; ++i) {
    T* to = gradient + i * row;
#pragma omp simd
    for (int64_t c = 0; c < cols; ++c) to[c] = (sums ? sums[i * cols + c] : T(0)) + (beta == 0 ? T(0) : to[c]);
  }
}

template <class T>
void sparse_backward(const AttentionShape& s, const AttentionBlock& b, const AttentionGradient<T>& x, void* memory) {
  const int64_t dim = s.heads * s.head_dim, d = s.head_dim;
  const AttentionScratch<T> scratch(s, b, memory);
  const RowSlice<T> keys = close_rows<T>(b.n_k, d, {x.k, dim}, scratch.compact_a);
  const RowSlice<T> values = close_rows<T>(b.n_k, d, {x.v, dim}, scratch.compact_b);
  T *dk = scratch.sums_a, *dv = scratch.sums_b;
  for (int64_t e = 0; e < b.n_k * d; ++e) dk[e] = dv[e] = 0;
  T *w = scratch.list_a, *p = scratch.list_b, *g = scratch.list_c;
  int32_t* positions = scratch.positions;
  const T* factors = nullptr;
  for (int64_t i = 0; i < b.n_q; ++i) {
    if (s.dropout.p > 0 && i % b.at_once == 0)
      factors =
          dropout_factors(s.dropout, b.weights + i * b.n_k, min_of(b.at_once, b.n_q - i) * b.n_k, scratch.factors);
    const T* a = x.weights + i * b.n_k;
    const T* f = factors ? factors + i % b.at_once * b.n_k : nullptr;
#pragma omp simd
    for (int64_t j = 0; j < b.n_k; ++j) scratch.keys[j] = a[j] != T(0);
    const int64_t count = positions_at_least(scratch.keys, b.n_k, Int<T>(1), positions);
    dot_listed_rows(count, positions, x.dout + i * dim, values.data, values.row, d, g);
    T sum = 0;
    for (int64_t t = 0; t < count; ++t) {
      w[t] = a[positions[t]];
      const T factor = f ? f[positions[t]] : T(1);
      p[t] = w[t] * factor;
      g[t] = factor == T(0) ? T(0) : g[t] * factor;
      sum += g[t] * w[t];
    }
    for (int64_t t = 0; t < count; ++t) g[t] = static_cast<T>(s.scale) * w[t] * (g[t] - sum);
    if (x.dv) add_to_listed_rows(count, positions, p, x.dout + i * dim, d, dv, d);
    if (x.dk) add_to_listed_rows(count, positions, g, x.q + i * dim, d, dk, d);
    if (x.dq) sum_listed_rows(count, positions, g, keys.data, keys.row, d, x.dq + i * dim, x.beta_q != 0);
  }
  put_slice(b.n_k, d, dk, x.dk, dim, x.beta_k);
  put_slice(b.n_k, d, dv, x.dv, dim, x.beta_v);
}

template <class T>
void attention_backward(StreamHandle, const AttentionShape& s, const AttentionGradient<T>& call) {
  const Workspaces scratch = reserve_attention_scratch<T>(s);
  const int64_t dim = s.heads * s.head_dim;
  // Two of q, k and v may be one tensor, and their gradients one array: beta is 0 for the first only. Then everything
  // is added, so that no order of the products can overwrite a part.
  const bool shared = (call.dq && (call.dq == call.dk || call.dq == call.dv)) || (call.dk && call.dk == call.dv);
#pragma omp parallel for schedule(dynamic, 1) if (s.batch * s.heads > 1)
  for (int64_t index = 0; index < s.batch * s.heads; ++index) {
    const AttentionBlock b = attention_block<T>(s, index);
    AttentionGradient<T> x = call;
    x.q += b.q;
    x.k += b.k;
    x.v += b.k;
    x.weights += b.weights;
    x.dout += b.q;
    if (x.dq) x.dq += b.q;
    if (x.dk) x.dk += b.k;
    if (x.dv) x.dv += b.k;
    if (shared || b.n_q == 0) {
      put_slice<T>(b.n_q, s.head_dim, nullptr, x.dq, dim, x.beta_q);
      put_slice<T>(b.n_k, s.head_dim, nullptr, x.dk, dim, x.beta_k);
      put_slice<T>(b.n_k, s.head_dim, nullptr, x.dv, dim, x.beta_v);
      x.beta_q = x.beta_k = x.beta_v = 1;
    }
    if (selects(s)) {
      sparse_backward(s, b, x, scratch.mine());
    } else {
      dense_backward(s, b, x, scratch.mine());
    }
  }
}

}  // namespace

template <class T>
void fill_attention_backward(Kernels<T>& table) {
  table.attention_backward = attention_backward<T>;
}
template void fill_attention_backward(Kernels<float>&);
template void fill_attention_backward(Kernels<double>&);

}  // namespace crisp::CRISP_ISA
