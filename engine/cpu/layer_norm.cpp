// LayerNorm over the last dimension, fused with the residual sum and its dropout. Each row belongs to one thread; the
// parameters' gradients are column sums, each column summed by one thread from the first row to the last. All sums are
// formed in f64.
#include <cmath>

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/dropout.h"
#include "engine/cpu/math.h"

namespace crisp::CRISP_ISA {
namespace {

// z = x + dropout(r) for elements begin..end; `factors` holds as many.
template <class T>
void add_dropped(int64_t begin, int64_t end, const Dropout& dropout, const T* x, const T* r, T* z, T* factors) {
  if (dropout.p == 0) {
#pragma omp simd
    for (int64_t e = begin; e < end; ++e) z[e] = x[e] + r[e];
    return;
  }
  dropout_factors(dropout, begin, end - begin, factors);
#pragma omp simd
  for (int64_t e = begin; e < end; ++e) z[e] = x[e] + r[e] * factors[e - begin];
}

template <class T>
void layer_norm(StreamHandle, int64_t rows, int64_t cols, const T* x, const T* r, const Dropout& dropout,
                const T* weight, const T* bias, double epsilon, T* z, T* stats, T* y) {
  const Workspaces scratch = reserve_workspaces(r && dropout.p > 0 ? static_cast<size_t>(cols) * sizeof(T) : 0);
#pragma omp parallel for schedule(static) if (rows * cols > parallel_threshold)
  for (int64_t i = 0; i < rows; ++i) {
    if (r) add_dropped(i * cols, (i + 1) * cols, dropout, x, r, z, static_cast<T*>(scratch.mine()));
    const T* row = (r ? z : x) + i * cols;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < cols; ++j) sum += static_cast<double>(row[j]);
    const T mean = static_cast<T>(sum / static_cast<double>(cols));
    double squares = 0;  // of the centred values: no cancellation
#pragma omp simd reduction(+ : squares)
    for (int64_t j = 0; j < cols; ++j) {
      const auto centred = static_cast<double>(row[j] - mean);
      squares += centred * centred;
    }
    const T inverse = T(1) / std::sqrt(static_cast<T>(squares / static_cast<double>(cols) + epsilon));
    stats[2 * i] = mean;
    stats[2 * i + 1] = inverse;
    T* out = y + i * cols;
#pragma omp simd
    for (int64_t j = 0; j < cols; ++j) out[j] = (row[j] - mean) * inverse * weight[j] + bias[j];
  }
}

// With n = (z - mean) * inverse and g = dy * weight: dz = inverse * (g - mean(g) - n * mean(g n)).
template <class T>
void layer_norm_backward(StreamHandle, int64_t rows, int64_t cols, const T* z, const T* stats, const T* weight,
                         const T* dy, T* dz, double beta) {
#pragma omp parallel for schedule(static) if (rows * cols > parallel_threshold)
  for (int64_t i = 0; i < rows; ++i) {
    const T* row = z + i * cols;
    const T* d = dy + i * cols;
    T* out = dz + i * cols;
    const T mean = stats[2 * i], inverse = stats[2 * i + 1];
    double g_sum = 0, gn_sum = 0;
#pragma omp simd reduction(+ : g_sum, gn_sum)
    for (int64_t j = 0; j < cols; ++j) {
      const T g = d[j] * weight[j];
      g_sum += static_cast<double>(g);
      gn_sum += static_cast<double>(g * ((row[j] - mean) * inverse));
    }
    const T sum = static_cast<T>(g_sum / static_cast<double>(cols));
    const T product = static_cast<T>(gn_sum / static_cast<double>(cols));
    if (beta == 0) {
#pragma omp simd
      for (int64_t j = 0; j < cols; ++j)
        out[j] = inverse * (d[j] * weight[j] - sum - (row[j] - mean) * inverse * product);
    } else {
#pragma omp simd
      for (int64_t j = 0; j < cols; ++j)
        out[j] += inverse * (d[j] * weight[j] - sum - (row[j] - mean) * inverse * product);
    }
  }
}

template <class T>
CRISP_INLINE void put_sums(int64_t n, const double* sums, T* out, double beta) {
  if (!out) return;
  for (int64_t j = 0; j < n; ++j) out[j] = static_cast<T>(beta == 0 ? sums[j] : static_cast<double>(out[j]) + sums[j]);
}

template <class T>
void layer_norm_backward_parameters(StreamHandle, int64_t rows, int64_t cols, const T* z, const T* stats, const T* dy,
                                    T* dweight, double beta_weight, T* dbias, double beta_bias) {
  constexpr int64_t width = 64;  // columns a thread sums at a time
  const int64_t blocks = (cols + width - 1) / width;
#pragma omp parallel for schedule(static) if (rows * cols > parallel_threshold)
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t first = b * width;
    const int64_t n = cols - first < width ? cols - first : width;
    double weight_sum[width] = {}, bias_sum[width] = {};
    for (int64_t i = 0; i < rows; ++i) {
      const T* row = z + i * cols + first;
      const T* d = dy + i * cols + first;
      const T mean = stats[2 * i], inverse = stats[2 * i + 1];
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) {
        weight_sum[j] += static_cast<double>(d[j] * ((row[j] - mean) * inverse));
        bias_sum[j] += static_cast<double>(d[j]);
      }
    }
    put_sums(n, weight_sum, dweight ? dweight + first : nullptr, beta_weight);
    put_sums(n, bias_sum, dbias ? dbias + first : nullptr, beta_bias);
  }
}

}  // namespace

template <class T>
void fill_layer_norm(Kernels<T>& table) {
  table.layer_norm = layer_norm<T>;
  table.layer_norm_backward = layer_norm_backward<T>;
  table.layer_norm_backward_parameters = layer_norm_backward_parameters<T>;
}
template void fill_layer_norm(Kernels<float>&);
template void fill_layer_norm(Kernels<double>&);

}  // namespace crisp::CRISP_ISA
