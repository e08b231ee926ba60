// Attention, backward. With A the weights, D the dropout factors and P = A D: dV = P' dO; dP = dO V'; dA = dP D;
// dS = A (dA - sum_j dA A) for the softmax; dQ = scale dS K; dK = scale dS' Q. Keys that were not selected have A = 0,
// hence dS = 0: unless all are, these products go by lists of the kept keys, which the forward pass has left
// (engine/kernels.h says what that means for infinities).
#include "engine/cpu/attention/block.h"
#include "engine/cpu/attention/lists.h"
#include "engine/cpu/attention/small_product.h"
#include "engine/cpu/simd/math.h"

namespace crisp::CRISP_ISA {
namespace {

// Short rows (is_short()) as a weight for each key, in scratch.gradients. All before any is read: a vector would wait
// for the single elements just written. Whole vectors of zeros are written.
template <class T>
void spread_rows(const AttentionBlock& b, int64_t rows, const T* weights, const int32_t* counts,
                 const AttentionScratch<T>& scratch) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t count = counts[r];
    if (!is_short(count, b.n_k)) continue;
    const T* row = weights + r * b.n_k;
    T* out = scratch.gradients + r * b.padded;
    for (int64_t j = 0; j < b.n_k; j += lanes<T>) store(out + j, Vec<T>{});
    const auto* positions = reinterpret_cast<const int32_t*>(row + count);
    for (int64_t t = 0; t < count; ++t) out[positions[t]] = row[t];
  }
}

// From dP in scratch.scores and the weights: there becomes dS times the scale, and P in scratch.weights. `counts` are
// null where all keys are kept.
template <class T>
void softmax_rows_backward(const AttentionShape& s, const AttentionBlock& b, int64_t rows, const T* weights,
                           const int32_t* counts, const AttentionScratch<T>& scratch) {
  constexpr int64_t width = lanes<T>;
  const int64_t last = b.padded - width, in_last = b.n_k - last;
  const Vec<T> scale = broadcast(static_cast<T>(s.scale)), up = broadcast(formulas::dropout_factor<T>(s.dropout.p));
  const bool dropout = s.dropout.p > 0;
  if (counts) spread_rows(b, rows, weights, counts, scratch);
  for (int64_t r = 0; r < rows; ++r) {
    T* g = scratch.scores + r * b.padded;
    T* p = scratch.weights + r * b.padded;
    const bool spread = counts && is_short(counts[r], b.n_k);
    const T* w = spread ? scratch.gradients + r * b.padded : weights + r * b.n_k;
    const auto weights_at = [=](int64_t c)
                                CRISP_INLINED { return c < last ? load(w + c) : load_first(w + c, in_last); };
    Vec<T> sums{};
    for (int64_t c = 0; c <= last; c += width) {
      Vec<T> a = weights_at(c), dropped = a, gradient = load(g + c);
      if (dropout) {
        const Vec<T> factor = marked_factor<T>(a, up);
        a = unmarked<T>(a);
        dropped = formulas::weight_dropout(a, factor);
        gradient = formulas::dropout(gradient, factor);
      }
      if (c == last) gradient = first_indices<Int<T>>() < static_cast<Int<T>>(in_last) ? gradient : Vec<T>{};
      store(p + c, dropped);
      store(g + c, gradient);
      sums += gradient * a;
    }
    sums = sum_of_lanes<T>(sums);
    for (int64_t c = 0; c <= last; c += width) {
      const Vec<T> a = dropout ? unmarked<T>(weights_at(c)) : weights_at(c);
      store(g + c, formulas::normaliser_gradient(scale * a, load(g + c), sums));
    }
  }
}

// gradient = sums + beta gradient; sums may be null: zeros.
template <class T>
void put_slice(int64_t rows, int64_t cols, const T* sums, T* gradient, int64_t row, double beta) {
  if (!gradient) return;
  for (int64_t i = 0; i < rows; ++i) {
    const auto sum = [=](int64_t c) CRISP_INLINED { return sums ? sums[i * cols + c] : T(0); };
    put(0, cols, gradient + i * row, beta, sum);
  }
}

template <class T>
void dense_backward(const AttentionShape& s, const AttentionBlock& b, const AttentionGradient<T>& x,
                    const AttentionScratch<T>& scratch) {
  const int64_t dim = b.dim, d = s.head_dim;
  if (b.n_q == 0) {  // else the first rows write what is to be overwritten
    put_slice<T>(b.n_k, d, nullptr, x.dk, b.k_row, x.beta_k);
    put_slice<T>(b.n_k, d, nullptr, x.dv, b.k_row, x.beta_v);
    return;
  }
  transpose_padded(b.n_k, d, x.v, b.k_row, scratch.transposed, b.transposed_row);
  const RowSlice<T> keys = close_rows<T>(b.n_k, d, {x.k, b.k_row}, scratch.compact_a);
  for (int64_t first = 0; first < b.n_q; first += b.at_once) {
    const int64_t rows = min_of(b.at_once, b.n_q - first);
    const T* d_rows = x.dout + first * dim;
    small_product(rows, b.padded, d, {d_rows, dim, 1}, scratch.transposed, b.transposed_row, scratch.scores, b.padded,
                  false);
    softmax_rows_backward(s, b, rows, x.weights + first * b.n_k, by_lists(s) ? x.counts + first : nullptr, scratch);
    const MatrixView<T> p_columns{scratch.weights, 1, b.padded}, g_columns{scratch.scores, 1, b.padded};
    if (x.dq)
      small_product(rows, d, b.n_k, {scratch.scores, b.padded, 1}, keys.data, keys.row, x.dq + first * b.q_row, b.q_row,
                    x.beta_q != 0);
    if (x.dk) {
      const RowSlice<T> q = close_rows<T>(rows, d, {x.q + first * b.q_row, b.q_row}, scratch.compact_b);
      small_product(b.n_k, d, rows, g_columns, q.data, q.row, x.dk, b.k_row, first > 0 || x.beta_k != 0);
    }
    if (x.dv) {
      const RowSlice<T> near = close_rows<T>(rows, d, {d_rows, dim}, scratch.compact_c);
      small_product(b.n_k, d, rows, p_columns, near.data, near.row, x.dv, b.k_row, first > 0 || x.beta_v != 0);
    }
  }
}

template <class T>
CRISP_INLINE T dot_of(int64_t count, const T* x, const T* y) {
  Vec<T> sums{};
  int64_t t = 0;
  for (; t + lanes<T> <= count; t += lanes<T>) sums += load(x + t) * load(y + t);
  sums += load_first(x + t, count - t) * load_first(y + t, count - t);
  return sum_of_lanes<T>(sums)[0];
}

template <class Formula, class T>
CRISP_INLINE void sparse_backward(T scale, int64_t count, const T* w, T* g) {
  T sum = 0, parts = 0;
#pragma omp simd reduction(+ : sum, parts)
  for (int64_t t = 0; t < count; ++t) {
    const T s = Formula::sensitivity(w[t]);
    sum += g[t] * s;
    parts += s;
  }
  const T mean = sum / parts;
#pragma omp simd
  for (int64_t t = 0; t < count; ++t)
    g[t] = formulas::normaliser_gradient(scale * Formula::sensitivity(w[t]), g[t], mean);
}

// One row: from the gradients g of the kept keys' weights w to those of their raw scores, scaled.
template <class T>
CRISP_INLINE void normaliser_backward(Normaliser normaliser, T scale, int64_t count, const T* w, T* g) {
  if (normaliser == Normaliser::sparsemax) return sparse_backward<formulas::Sparsemax<T, Math>>(scale, count, w, g);
  if (normaliser == Normaliser::entmax15) return sparse_backward<formulas::Entmax15<T, Math>>(scale, count, w, g);
  const T dot = dot_of(count, g, w);
#pragma omp simd
  for (int64_t t = 0; t < count; ++t) g[t] = formulas::normaliser_gradient(scale * w[t], g[t], dot);
}

// One row's part in the gradient of the span, from the gradients g of the weights w.
template <class T>
double span_backward(const AttentionShape& s, int64_t i, double span, int64_t count, const int32_t* positions,
                     const T* w, const T* g) {
  double sum = 0, total = 0;
  for (int64_t t = 0; t < count; ++t) sum += static_cast<double>(g[t]) * static_cast<double>(w[t]);
  for (int64_t t = 0; t < count; ++t) {
    const double gate = span_gate(s.span_ramp, span, i, positions[t]);
    if (gate <= 0 || gate >= 1) continue;
    const double dx = formulas::normaliser_gradient(static_cast<double>(w[t]), static_cast<double>(g[t]), sum);
    total += formulas::SpanGate::gradient(gate, s.span_ramp, dx);
  }
  return total;
}

// The positions of the weights that are not 0, and beside them the weights. Both have room for a vector more.
template <class T>
CRISP_INLINE int64_t list_nonzero(int64_t n, const T* weights, int32_t* positions, T* listed) {
  int64_t count = 0;
  if constexpr (sizeof(T) == 4) {
    constexpr int64_t width = lanes<T>;
    Vec<int32_t> index = first_indices<int32_t>();
    for (int64_t j = 0; j < n; j += width, index += lanes<int32_t>) {
      const int64_t here = min_of(width, n - j);
      const Vec<T> some = here == width ? load(weights + j) : load_first(weights + j, here);
      const LaneBits kept = nonzero(some);
      store_compressed(positions + count, index, kept);
      store_compressed(listed + count, some, kept);
      count += count_lanes(kept);
    }
  } else {
    for (int64_t j = 0; j < n; ++j) {
      positions[count] = static_cast<int32_t>(j);
      listed[count] = weights[j];
      count += weights[j] != T(0);
    }
  }
  return count;
}

// The lists of a row as the forward pass left it: positions and weights, as list_nonzero(); how many.
template <class T>
CRISP_INLINE int64_t take_row(int64_t n_k, int64_t count, const T* row, int32_t* positions, T* weights) {
  if (!is_short(count, n_k)) return list_nonzero(n_k, row, positions, weights);
  const auto same = [](auto x) { return x; };
  map_close(same, count, weights, row);
  map_close(same, count, positions, reinterpret_cast<const int32_t*>(row + count));
  return count;
}

// Dropout, backward, by the marks of the weights w, which lose them: of the gradients g, and p = dropout(w). Whole
// vectors are written.
template <class T>
CRISP_INLINE void listed_dropout(int64_t count, Vec<T> up, T* w, T* g, T* p) {
  for (int64_t t = 0; t < count; t += lanes<T>) {
    const Vec<T> marked = load(w + t), factor = marked_factor<T>(marked, up), weight = unmarked<T>(marked);
    store(w + t, weight);
    store(g + t, formulas::dropout(load(g + t), factor));
    store(p + t, formulas::weight_dropout(weight, factor));
  }
}

// gradient = sums + beta gradient; `sums` lie in groups as add_lists() leaves them.
template <class T>
void put_groups(int64_t rows, int64_t cols, const T* sums, T* gradient, int64_t row, double beta) {
  if (!gradient) return;
  for_groups(group_width<T>, cols, [&](int64_t c, int64_t here) CRISP_INLINED {
    put_slice(rows, here, sums + c * rows, gradient + c, row, beta);
  });
}

template <class T>
void listed_backward(const AttentionShape& s, const AttentionBlock& b, const AttentionGradient<T>& x, double* span_sum,
                     const AttentionScratch<T>& scratch) {
  const int64_t dim = b.dim, d = s.head_dim;
  const ColumnGroups<T> keys = column_groups<T>(b.n_k, d, {x.k, b.k_row}, scratch.compact_a);
  const RowSlice<T> values = close_rows<T>(b.n_k, d, {x.v, b.k_row}, scratch.compact_b);
  T *dk = scratch.sums_a, *dv = scratch.sums_b;
  for (int64_t e = 0; e < b.n_k * d; ++e) dk[e] = dv[e] = 0;
  const int32_t *starts = scratch.starts, *positions = scratch.positions;
  const bool dropout = s.dropout.p > 0;
  const Vec<T> up = broadcast(formulas::dropout_factor<T>(s.dropout.p));
  // Each product in a pass of its own over the block's rows: one of the four matrices at a time in the cache.
  for (int64_t first = 0; first < b.n_q; first += b.at_once) {
    const int64_t rows = min_of(b.at_once, b.n_q - first);
    const T *q = x.q + first * b.q_row, *dout = x.dout + first * dim;
    scratch.starts[0] = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const T* a = x.weights + (first + r) * b.n_k;
      if (r + 1 < rows) {
        const int64_t next = x.counts[first + r + 1];
        prefetch_row(a + b.n_k, is_short(next, b.n_k) ? 2 * next : b.n_k);
        prefetch_row(dout + (r + 1) * dim, d);
      }
      const int32_t begin = starts[r];
      T *w = scratch.weights + begin, *p = scratch.scores + begin, *g = scratch.gradients + begin;
      const int64_t count = take_row(b.n_k, x.counts[first + r], a, scratch.positions + begin, w);
      dot_listed_rows(count, positions + begin, dout + r * dim, values.data, values.row, d, g);
      if (dropout) listed_dropout(count, up, w, g, p);
      if (span_sum)
        *span_sum += span_backward(s, first + r, static_cast<double>(x.span[b.head]), count, positions + begin, w, g);
      normaliser_backward(s.normaliser, static_cast<T>(s.scale), count, w, g);
      scratch.starts[r + 1] = begin + static_cast<int32_t>(count);
    }
    const T *p = dropout ? scratch.scores : scratch.weights, *g = scratch.gradients;
    if (x.dv) add_lists(rows, starts, positions, p, dout, dim, d, dv, b.n_k);
    if (x.dk) add_lists(rows, starts, positions, g, q, b.q_row, d, dk, b.n_k);
    if (x.dq) sum_lists(rows, starts, positions, g, keys, d, x.dq + first * b.q_row, b.q_row, x.beta_q != 0);
  }
  put_groups(b.n_k, d, dk, x.dk, b.k_row, x.beta_k);
  put_groups(b.n_k, d, dv, x.dv, b.k_row, x.beta_v);
}

// Whether a block whose keys are not all kept takes the dense way, with weights of 0: where so many are kept, or there
// are so few (heads of 64 gain by lists from 24 keys on), that whole products are faster. A key that was not kept must
// then not make a NaN of its 0.
template <class T>
bool masks_pay(const AttentionShape& s, const AttentionBlock& b, const AttentionGradient<T>& x) {
  if (s.normaliser != Normaliser::softmax || s.span_ramp > 0) return false;
  int64_t kept = 0;
  for (int64_t i = 0; i < b.n_q; ++i) kept += x.counts[i];
  const bool small = b.n_k <= 32 && s.head_dim <= 32;
  return (small || 25 * kept > 12 * b.n_q * b.n_k) && all_finite<T>(b.n_k, s.head_dim, {x.k, b.k_row}) &&
         all_finite<T>(b.n_k, s.head_dim, {x.v, b.k_row});
}

template <class T>
void attention_backward(const AttentionShape& s, const AttentionGradient<T>& call) {
  for_blocks<T>(
      s, call,
      [=](int64_t index, const AttentionBlock& b, AttentionGradient<T>& x, const AttentionScratch<T>& scratch) {
        x.dout += b.out;
        if (x.dq) x.dq += b.q;
        if (x.dk) x.dk += b.k;
        if (x.dv) x.dv += b.k;
        double* span_sum = x.dspan ? x.span_sums + index : nullptr;
        if (span_sum) *span_sum = 0;
        if (by_lists(s) && !masks_pay(s, b, x)) {
          listed_backward(s, b, x, span_sum, scratch);
        } else {
          dense_backward(s, b, x, scratch);
        }
      });
  if (!call.dspan) return;
  for (int64_t h = 0; h < s.heads; ++h) {
    double sum = 0;
    for (int64_t sequence = 0; sequence < s.batch; ++sequence) sum += call.span_sums[sequence * s.heads + h];
    call.dspan[h] = static_cast<T>(sum) + (call.beta_span == 0 ? T(0) : call.dspan[h]);
  }
}

}  // namespace

void fill_attention_backward(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) { table.attention_backward = attention_backward<T>; });
}

}  // namespace crisp::CRISP_ISA
