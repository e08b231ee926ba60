// Attention, backward. With A the weights, D the dropout factors and P = A D: dV = P' dO; dP = dO V'; dA = dP D;
// dS = A (dA - sum_j dA A) for the softmax; dQ = scale dS K; dK = scale dS' Q. A first kernel goes by rows of queries
// and leaves scale dS in scratch memory, a second one goes by keys. Which keys were kept the weights tell: unless all
// are, a weight of 0 takes no part (engine/kernels.h says what that means for infinities).
#include "engine/cuda/attention/selection.cuh"
#include "engine/cuda/rules.h"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

// A row of a query between the gradients of its weights and those of its scores.
template <class T>
struct GradientRow {
  int i, n;
  const T* weights;
  T* g;
};

// f(j, marked_weight()) for the keys that belong to this lane and have a part.
template <bool Lists, class T, class F>
__device__ __forceinline__ void for_marked(const GradientRow<T>& row, F f) {
  for (int j = threadIdx.x % warp; j < row.n; j += warp) {
    const T w = row.weights[j];
    if (!Lists || w != T(0)) f(j, w);
  }
}

// The same with the weight itself.
template <bool Lists, class T, class F>
__device__ __forceinline__ void for_weights(const GradientRow<T>& row, F f) {
  for_marked<Lists>(row, [&](int j, T w) { f(j, unmarked(w)); });
}

// From the gradients of the weights to those of the raw scores, scaled; of keys without a part nothing is said.
// `sensitivity` is what formulas.h calls so.
template <bool Lists, class T, class Sensitivity>
__device__ __forceinline__ void normaliser_backward(const GradientRow<T>& row, T scale, bool adds_up_to_one,
                                                    Sensitivity sensitivity) {
  T sum = 0, parts = 0;
  for_weights<Lists>(row, [&](int j, T w) {
    const T part = sensitivity(w);
    sum += row.g[j] * part;
    parts += part;
  });
  sum = warp_sum(sum);
  const T mean = adds_up_to_one ? sum : sum / warp_sum(parts);
  for_weights<Lists>(
      row, [&](int j, T w) { row.g[j] = formulas::normaliser_gradient(scale * sensitivity(w), row.g[j], mean); });
}

// The row's part in the gradient of the span, from the gradients of the weights.
template <class T>
__device__ __forceinline__ double span_backward(const AttentionShape& s, const GradientRow<T>& row, double span) {
  double sum = 0, total = 0;
  for_weights<true>(row, [&](int j, T w) { sum += static_cast<double>(row.g[j]) * static_cast<double>(w); });
  sum = warp_sum(sum);
  for_weights<true>(row, [&](int j, T w) {
    const double gate = span_gate(s.span_ramp, span, row.i, j);
    if (gate <= 0 || gate >= 1) return;
    const double dx = formulas::normaliser_gradient(static_cast<double>(w), static_cast<double>(row.g[j]), sum);
    total += formulas::SpanGate::gradient(gate, s.span_ramp, dx);
  });
  return warp_sum(total);
}

// dq, and the gradients of all scores before they are scaled in `gradients`, laid out as the weights.
template <class T, bool Lists>
__global__ void __launch_bounds__(attention_threads, 2)
    attention_backward_queries(AttentionShape s, AttentionGradient<T> x, int groups, T* gradients, double* span_rows) {
  const auto [index, group] = cell_of(blockIdx.x, groups);
  const AttentionBlock b = attention_block(s, index);
  const RowsMemory<T> memory;
  const int lane = threadIdx.x % warp, cols = static_cast<int>(s.head_dim);
  const bool is_short = b.n_k <= short_row<T>;
  const T* weights = x.weights + b.weights;
  T* left = gradients + b.weights;
  for (int tile = static_cast<int>(group); tile * tile_rows < b.n_q; tile += groups) {
    const WarpRows rows(tile, b.n_q);
    const auto row_of = [&](int r) { return is_short ? memory.row(r) : left + rows.offset(r, b.n_k); };
    row_products(x.dout + b.out, b.dim, tile, b.n_q, x.v + b.k, b.k_row, b.n_k, cols, memory.tiles,
                 [&](int r, int j, T product) { row_of(r)[j] = product; });
#pragma unroll
    for (int r = 0; r < warp_rows; ++r) {
      if (r >= rows.count) continue;
      const GradientRow<T> row{rows.query(r), b.n_k, weights + rows.offset(r, b.n_k), row_of(r)};
      if (s.dropout.p > 0) {
        const T up = formulas::dropout_factor<T>(s.dropout.p);
        for_marked<Lists>(row, [&](int j, T w) { row.g[j] = formulas::dropout(row.g[j], marked_factor(w, up)); });
      }
      const T scale = static_cast<T>(s.scale);
      if constexpr (Lists) {
        if (span_rows) {
          const double sum = span_backward(s, row, static_cast<double>(x.span[b.head]));
          if (lane == 0) span_rows[b.rows + row.i] = sum;
        }
        if (s.normaliser == Normaliser::sparsemax) {
          normaliser_backward<Lists>(row, scale, false,
                                     [](T w) { return formulas::Sparsemax<T, Math>::sensitivity(w); });
        } else if (s.normaliser == Normaliser::entmax15) {
          normaliser_backward<Lists>(row, scale, false,
                                     [](T w) { return formulas::Entmax15<T, Math>::sensitivity(w); });
        } else {
          normaliser_backward<Lists>(row, scale, true, [](T w) { return w; });
        }
      } else {
        normaliser_backward<Lists>(row, scale, true, [](T w) { return w; });
      }
      if (x.dk && (is_short || Lists))
        for_weights<false>(row,
                           [&](int j, T w) { left[rows.offset(r, b.n_k) + j] = Lists && w == T(0) ? T(0) : row.g[j]; });
    }
    if (!x.dq) continue;
    weighted_sums(
        rows.count, x.k + b.k, b.k_row, b.n_k, cols, memory.room,
        [&](int r, int j, bool) {
          return Lists && weights[rows.offset(r, b.n_k) + j] == T(0) ? absent<T>() : present(row_of(r)[j]);
        },
        [&](int r, int c, T sum) { put(x.dq[b.q + rows.query(r) * b.q_row + c], sum, x.beta_q); });
  }
}

constexpr int warp_keys = 4;  // that a warp of the second kernel works on: its number, and 8, 16 and 24 more
constexpr int key_tile = attention_warps * warp_keys;
static_assert(key_tile == warp);

// dk and dv, from `gradients`.
template <class T, bool Lists>
__global__ void __launch_bounds__(attention_threads, 2)
    attention_backward_keys(AttentionShape s, AttentionGradient<T> x, int groups, const T* gradients) {
  const auto [index, group] = cell_of(blockIdx.x, groups);
  const AttentionBlock b = attention_block(s, index);
  T *g = shared_memory<T>(), *p = g + 32 * key_tile;
  const int own = threadIdx.x / warp, lane = threadIdx.x % warp, cols = static_cast<int>(s.head_dim);
  const bool want_k = x.dk != nullptr, want_v = x.dv != nullptr;
  const T up = formulas::dropout_factor<T>(s.dropout.p);
  for (int tile = static_cast<int>(group); tile * key_tile < b.n_k; tile += groups) {
    const int j0 = tile * key_tile;
    for (int c0 = 0; c0 < cols; c0 += 64) {
      const bool left = c0 + lane < cols, right = c0 + 32 + lane < cols;
      T dk[warp_keys][2] = {}, dv[warp_keys][2] = {};
      for (int i0 = 0; i0 < b.n_q; i0 += 32) {
        __syncthreads();  // nobody reads the tiles any more
        for (int i = own; i < 32; i += attention_warps) {
          const bool is_there = i0 + i < b.n_q && j0 + lane < b.n_k;
          const int64_t at = b.weights + static_cast<int64_t>(i0 + i) * b.n_k + j0 + lane;
          const T w = is_there && want_v ? x.weights[at] : T(0);
          g[i * key_tile + lane] = is_there && want_k ? gradients[at] : T(0);
          p[i * key_tile + lane] = is_there && want_v && s.dropout.p > 0 && !(Lists && w == T(0))
                                       ? formulas::weight_dropout(unmarked(w), marked_factor(w, up))
                                       : w;
        }
        __syncthreads();
        if (j0 + own >= b.n_k) continue;
        const int count = min(32, b.n_q - i0);
        const T* q_row = x.q + b.q + i0 * b.q_row + c0 + lane;
        const T* d_row = x.dout + b.out + i0 * b.dim + c0 + lane;
        for (int i = 0; i < count; ++i, q_row += b.q_row, d_row += b.dim) {
          const T q[2] = {left && want_k ? q_row[0] : T(0), right && want_k ? q_row[32] : T(0)};
          const T d[2] = {left && want_v ? d_row[0] : T(0), right && want_v ? d_row[32] : T(0)};
#pragma unroll
          for (int m = 0; m < warp_keys; ++m) {
            const int key = i * key_tile + own + attention_warps * m;
            if (const T factor = g[key]; !Lists || factor != T(0)) {
              dk[m][0] += factor * q[0];
              dk[m][1] += factor * q[1];
            }
            if (const T factor = p[key]; !Lists || factor != T(0)) {
              dv[m][0] += factor * d[0];
              dv[m][1] += factor * d[1];
            }
          }
        }
      }
#pragma unroll
      for (int m = 0; m < warp_keys; ++m) {
        const int j = j0 + own + attention_warps * m;
        if (j >= b.n_k) continue;
        const int64_t at = b.k + j * b.k_row + c0 + lane;
        if (want_k && left) put(x.dk[at], dk[m][0], x.beta_k);
        if (want_k && right) put(x.dk[at + 32], dk[m][1], x.beta_k);
        if (want_v && left) put(x.dv[at], dv[m][0], x.beta_v);
        if (want_v && right) put(x.dv[at + 32], dv[m][1], x.beta_v);
      }
    }
  }
}

// The gradient of each head's span from its rows' parts, a block each.
template <class T>
__global__ void __launch_bounds__(attention_threads)
    attention_backward_span(AttentionShape s, const double* span_rows, T* dspan, double beta) {
  double sum = 0;
  for (int64_t sequence = threadIdx.x / warp; sequence < s.batch; sequence += attention_warps) {
    const AttentionBlock b = attention_block(s, sequence * s.heads + blockIdx.x);
    for (int i = threadIdx.x % warp; i < b.n_q; i += warp) sum += span_rows[b.rows + i];
  }
  sum = block_sum(sum, shared_memory<double>());
  if (threadIdx.x == 0) put(dspan[blockIdx.x], static_cast<T>(sum), beta);
}

template <class T, bool Lists>
void attention_backward_of(const AttentionShape& s, const AttentionGradient<T>& x) {
  const int64_t blocks = s.batch * s.heads, rows = x.dspan ? s.queries * s.heads : 0;
  T* gradients = nullptr;
  if (x.dq || x.dk || x.dspan) {
    auto* span_rows = static_cast<double*>(scratch(cuda_rules::scratch_of(s, x)));
    gradients = reinterpret_cast<T*>(span_rows + rows);
    const int64_t groups = tile_groups(s.queries, s.batch, tile_rows);
    launch("attention_backward_queries", {blocks * groups, attention_threads, RowsMemory<T>::bytes},
           attention_backward_queries<T, Lists>, s, x, static_cast<int>(groups), gradients,
           x.dspan ? span_rows : nullptr);
    if (x.dspan)
      launch("attention_backward_span", {s.heads, attention_threads, attention_warps * sizeof(double)},
             attention_backward_span<T>, s, static_cast<const double*>(span_rows), x.dspan, x.beta_span);
  }
  if (!x.dk && !x.dv) return;
  const int64_t groups = tile_groups(s.keys, s.batch, key_tile);
  launch("attention_backward_keys", {blocks * groups, attention_threads, size_t{2 * 32 * key_tile} * sizeof(T)},
         attention_backward_keys<T, Lists>, s, x, static_cast<int>(groups), static_cast<const T*>(gradients));
}

template <class T>
void attention_backward(const AttentionShape& s, const AttentionGradient<T>& x) {
  by_lists(s) ? attention_backward_of<T, true>(s, x) : attention_backward_of<T, false>(s, x);
}

}  // namespace

void fill_attention_backward(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) { table.attention_backward = attention_backward<T>; });
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
