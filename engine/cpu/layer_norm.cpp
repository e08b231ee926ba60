// LayerNorm over the last dimension, fused with what surrounds it: the sum with the residual or of embeddings, and
// dropout on either side. One pass over the rows each way; a row belongs to one thread. All sums are formed in f64.
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/dropout.h"
#include "engine/cpu/simd/math.h"

namespace crisp::CRISP_ISA {
namespace {

template <class T>
using Formula = formulas::LayerNorm<T, Math>;

// y = x + r f (f may be null: ones) for a row; y may be x or r. Returns the sum of y.
template <class T>
double add_residual(int64_t n, const T* x, const T* r, const T* f, T* y) {
  if (f) return sum_over(0, n, [=](int64_t j) { return y[j] = x[j] + formulas::dropout(r[j], f[j]); });
  return sum_over(0, n, [=](int64_t j) { return y[j] = x[j] + r[j]; });
}

// Elements of scratch for the dropout factors of a row.
CRISP_INLINE int64_t room(const Dropout& dropout, int64_t cols) { return dropout.p > 0 ? dropout_room(cols) : 0; }

template <class T>
const T* row_factors(const Dropout& dropout, int64_t row, int64_t cols, T* buffer) {
  return dropout.p > 0 ? dropout_factors(dropout, row * cols, cols, buffer) : nullptr;
}

template <class T>
void layer_norm_row(const LayerNormCall<T>& c, int64_t i, T* buffer) {
  const int64_t n = c.cols;
  const T* row = c.x + (c.x_rows ? c.x_rows[i] : i) * n;
  double sum = 0;
  if (c.r) {
    T* z = c.z + i * n;
    sum = add_residual(n, row, c.r + (c.r_rows ? c.r_rows[i] : i) * n, row_factors(c.dropout_r, i, n, buffer), z);
    row = z;
  } else {
    sum = sum_over(0, n, [=](int64_t j) { return row[j]; });
  }
  const T mean = static_cast<T>(sum / static_cast<double>(n));
  const double squares = sum_over(0, n, [=](int64_t j) {  // of the centred values: no cancellation
    const auto centred = static_cast<double>(row[j] - mean);
    return centred * centred;
  });
  const T inverse = Formula<T>::inverse(squares / static_cast<double>(n), c.epsilon);
  c.stats[2 * i] = mean;
  c.stats[2 * i + 1] = inverse;
  const auto value = [&](int64_t j) CRISP_INLINED {
    return Formula<T>::value(Formula<T>::normalised(row[j], mean, inverse), c.weight[j], c.bias[j]);
  };
  T* out = c.y + i * n;
  if (const T* f = row_factors(c.dropout_y, i, n, buffer)) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) out[j] = formulas::dropout(value(j), f[j]);
  } else {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) out[j] = value(j);
  }
}

template <class T>
void layer_norm(const LayerNormCall<T>& call) {
  const int64_t factors = max_of(room(call.dropout_r, call.cols), room(call.dropout_y, call.cols));
  const Workspaces scratch = reserve_workspaces(static_cast<size_t>(factors) * sizeof(T));
  parallel_for(call.rows, call.rows * call.cols > parallel_threshold ? scratch.members() : 1,
               [=](int64_t i) { layer_norm_row(call, i, static_cast<T*>(scratch.mine())); });
}

// out = g f + beta out (f may be null: ones).
template <class T>
void put_gradient(int64_t n, const T* g, const T* f, T* out, double beta) {
  if (f) {
    put(0, n, out, beta, [=](int64_t j) CRISP_INLINED { return formulas::dropout(g[j], f[j]); });
  } else {
    put(0, n, out, beta, [=](int64_t j) CRISP_INLINED { return g[j]; });
  }
}

// What a chunk of rows needs: sums of the parameters' gradients, and rows of numbers.
template <class T>
struct ChunkScratch {
  double *weight_sums, *bias_sums;
  T *dy, *dz, *factors;
  int64_t bytes;

  CRISP_INLINE ChunkScratch(const LayerNormGradient<T>& g, void* memory) {
    weight_sums = static_cast<double*>(memory);
    bias_sums = weight_sums + g.cols;
    dy = reinterpret_cast<T*>(bias_sums + g.cols);
    dz = dy + g.cols;
    factors = dz + g.cols;
    const int64_t elements = 2 * g.cols + max_of(room(g.dropout_r, g.cols), room(g.dropout_y, g.cols));
    bytes =
        divide_up(2 * g.cols * static_cast<int64_t>(sizeof(double)) + elements * static_cast<int64_t>(sizeof(T)), 64) *
        64;
  }
};

template <class T>
void backward_row(const LayerNormGradient<T>& c, int64_t i, const ChunkScratch<T>& scratch) {
  const int64_t cols = c.cols;
  const T* row = c.z + i * cols;
  const T* dy = c.dy + i * cols;
  const T* weight = c.weight;
  const T mean = c.stats[2 * i], inverse = c.stats[2 * i + 1];
  if (const T* f = row_factors(c.dropout_y, i, cols, scratch.factors)) {
    put_gradient(cols, dy, f, scratch.dy, 0);
    dy = scratch.dy;
  }
  const auto n = [=](int64_t j) CRISP_INLINED { return Formula<T>::normalised(row[j], mean, inverse); };
  if (c.dweight || c.dbias) {
    double *weight_sums = scratch.weight_sums, *bias_sums = scratch.bias_sums;
#pragma omp simd
    for (int64_t j = 0; j < cols; ++j) {
      weight_sums[j] += static_cast<double>(Formula<T>::dweight(dy[j], n(j)));
      bias_sums[j] += static_cast<double>(dy[j]);
    }
  }
  if (!c.dx && !c.dr) return;
  double h_sum = 0, hn_sum = 0;
#pragma omp simd reduction(+ : h_sum, hn_sum)
  for (int64_t j = 0; j < cols; ++j) {
    const T h = dy[j] * weight[j];
    h_sum += static_cast<double>(h);
    hn_sum += static_cast<double>(h * n(j));
  }
  const T mean_h = static_cast<T>(h_sum / static_cast<double>(cols));
  const T mean_hn = static_cast<T>(hn_sum / static_cast<double>(cols));
  const bool in_place = c.dx && c.beta_x == 0;
  T* dz = in_place ? c.dx + i * cols : scratch.dz;
#pragma omp simd
  for (int64_t j = 0; j < cols; ++j) dz[j] = Formula<T>::dx(dy[j] * weight[j], n(j), inverse, mean_h, mean_hn);
  if (c.dx && !in_place) put_gradient<T>(cols, dz, nullptr, c.dx + i * cols, 1);
  if (c.dr) {
    const T* f = row_factors(c.dropout_r, i, cols, scratch.factors);
    put_gradient(cols, dz, f, c.dr + i * cols, c.beta_r);
  }
}

template <class T>
void layer_norm_backward(const LayerNormGradient<T>& call) {
  constexpr int64_t rows_at_least = 32, most_chunks = 64;
  const int64_t cols = call.cols, chunk = max_of(rows_at_least, divide_up(call.rows, most_chunks));
  const int64_t chunks = divide_up(call.rows, chunk), bytes = ChunkScratch<T>(call, nullptr).bytes;
  auto* memory = static_cast<char*>(thread_workspace(static_cast<size_t>(max_of(1, chunks) * bytes)));
  const bool parallel = call.rows * cols > parallel_threshold;
  parallel_for(chunks, threads_if(parallel), [=](int64_t k) {
    const ChunkScratch<T> scratch(call, memory + k * bytes);
    for (int64_t j = 0; j < 2 * cols; ++j) scratch.weight_sums[j] = 0;
    const int64_t end = min_of(call.rows, (k + 1) * chunk);
    for (int64_t i = k * chunk; i < end; ++i) backward_row(call, i, scratch);
  });
  if (!call.dweight && !call.dbias) return;
  constexpr int64_t width = 64;
  parallel_for(divide_up(cols, width), threads_if(parallel), [=](int64_t b) {
    const auto put = [=](int64_t sums_at, int64_t j, T* out, double beta) {
      if (!out) return;
      double total = 0;
      for (int64_t k = 0; k < chunks; ++k) total += reinterpret_cast<const double*>(memory + k * bytes)[sums_at + j];
      out[j] = static_cast<T>(beta == 0 ? total : static_cast<double>(out[j]) + total);
    };
    for (int64_t j = b * width; j < min_of(cols, (b + 1) * width); ++j) {
      put(0, j, call.dweight, call.beta_weight);
      put(cols, j, call.dbias, call.beta_bias);
    }
  });
}

}  // namespace

void fill_layer_norm(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) {
    table.layer_norm = layer_norm<T>;
    table.layer_norm_backward = layer_norm_backward<T>;
  });
}

}  // namespace crisp::CRISP_ISA
