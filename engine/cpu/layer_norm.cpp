// LayerNorm over the last dimension, fused with the residual sum and its dropout. Each row belongs to one thread; the
// parameters' gradients are column sums, each column summed by one thread from the first row to the last.
#include <cmath>

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/dropout.h"
#include "engine/cpu/math.h"

namespace crisp::CRISP_ISA {
namespace {

// z = x + dropout(r) for elements begin..end.
template <class T>
void add_dropped(int64_t begin, int64_t end, const Dropout& dropout, const T* x, const T* r, T* z) {
  if (dropout.p == 0) {
#pragma omp simd
    for (int64_t e = begin; e < end; ++e) z[e] = x[e] + r[e];
    return;
  }
  T* factors = static_cast<T*>(thread_workspace(static_cast<size_t>(end - begin) * sizeof(T)));
  dropout_factors(dropout, begin, end - begin, factors);
#pragma omp simd
  for (int64_t e = begin; e < end; ++e) z[e] = x[e] + r[e] * factors[e - begin];
}

template <class T>
void layer_norm(StreamHandle, int64_t rows, int64_t cols, const T* x, const T* r, const Dropout& dropout,
                const T* weight, const T* bias, double epsilon, T* z, T* stats, T* y) {
#pragma omp parallel for schedule(static) if (rows * cols > parallel_threshold)
  for (int64_t i = 0; i < rows; ++i) {
    if (r) add_dropped(i * cols, (i + 1) * cols, dropout, x, r, z);
    const T* row = (r ? z : x) + i * cols;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < cols; ++j) sum += row[j];
    const T mean = sum / static_cast<T>(cols);
    T squares = 0;  // of the centred values: no cancellation
#pragma omp simd reduction(+ : squares)
    for (int64_t j = 0; j < cols; ++j) squares += (row[j] - mean) * (row[j] - mean);
    const T inverse = T(1) / std::sqrt(squares / static_cast<T>(cols) + static_cast<T>(epsilon));
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
    T sum = 0, product = 0;
#pragma omp simd reduction(+ : sum, product)
    for (int64_t j = 0; j < cols; ++j) {
      const T g = d[j] * weight[j];
      sum += g;
      product += g * ((row[j] - mean) * inverse);
    }
    sum /= static_cast<T>(cols);
    product /= static_cast<T>(cols);
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
void layer_norm_backward_parameters(StreamHandle, int64_t rows, int64_t cols, const T* z, const T* stats, const T* dy,
                                    T* dweight, double beta_weight, T* dbias, double beta_bias) {
  constexpr int64_t width = 64;  // columns a thread sums at a time
  const int64_t blocks = (cols + width - 1) / width;
#pragma omp parallel for schedule(static) if (rows * cols > parallel_threshold)
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t first = b * width;
    const int64_t n = cols - first < width ? cols - first : width;
    T weight_sum[width] = {}, bias_sum[width] = {};
    for (int64_t i = 0; i < rows; ++i) {
      const T* row = z + i * cols + first;
      const T* d = dy + i * cols + first;
      const T mean = stats[2 * i], inverse = stats[2 * i + 1];
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) {
        weight_sum[j] += d[j] * ((row[j] - mean) * inverse);
        bias_sum[j] += d[j];
      }
    }
    if (dweight)
      for (int64_t j = 0; j < n; ++j)
        dweight[first + j] = beta_weight == 0 ? weight_sum[j] : dweight[first + j] + weight_sum[j];
    if (dbias)
      for (int64_t j = 0; j < n; ++j) dbias[first + j] = beta_bias == 0 ? bias_sum[j] : dbias[first + j] + bias_sum[j];
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
