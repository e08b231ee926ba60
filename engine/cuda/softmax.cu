// Softmax, its logarithm, and cross-entropy, over rows: a block per row, which reads its row once from memory and then
// from the cache. The row maximum is subtracted first, so that no exponential overflows; sums are formed in f64. A row
// of -infinity only gives NaN.
#include "engine/cuda/sums.cuh"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

template <class T>
using Softmax = formulas::Softmax<T, Math>;
template <class T>
using LogSoftmax = formulas::LogSoftmax<T, Math>;
template <class T>
using CrossEntropy = formulas::CrossEntropy<T, Math>;

template <class... Parameters, class... Arguments>
void launch_rows(const char* name, int64_t rows, int64_t cols, void (*kernel)(Parameters...), Arguments... arguments) {
  const unsigned threads = row_threads(cols);
  launch(name, {.blocks = rows, .threads = threads, .shared = 2 * threads / warp * sizeof(double)}, kernel, cols,
         arguments...);
}

// f(i) for the columns of this thread.
template <class F>
__device__ __forceinline__ void for_columns(int64_t cols, F f) {
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) f(i);
}

// The largest of a row, and the sum of its exponentials.
template <class T>
struct RowSum {
  T max;
  double sum;
};
template <class T>
__device__ __forceinline__ RowSum<T> row_sum(int64_t cols, const T* x) {
  double* const room = shared_memory<double>();
  T m = -static_cast<T>(INFINITY);
  for_columns(cols, [&](int64_t i) { m = m < x[i] ? x[i] : m; });  // a NaN may be lost; the exponential brings it back
  m = block_max(m, reinterpret_cast<T*>(room));
  double sum = 0;
  for_columns(cols, [&](int64_t i) { sum += static_cast<double>(Softmax<T>::exponential(x[i], m)); });
  return {m, block_sum(sum, room + blockDim.x / warp)};
}

template <class T>
__device__ __forceinline__ void put_softmax(int64_t cols, const T* x, const RowSum<T>& row, T* y) {
  const T inverse = static_cast<T>(1 / row.sum);
  for_columns(cols, [&](int64_t i) { y[i] = Softmax<T>::value(Softmax<T>::exponential(x[i], row.max), inverse); });
}

template <class T>
__global__ void __launch_bounds__(256) softmax_rows(int64_t cols, const T* x, T* y) {
  const int64_t at = blockIdx.x * cols;
  put_softmax(cols, x + at, row_sum(cols, x + at), y + at);
}

template <class T>
void softmax(int64_t rows, int64_t cols, const T* x, T* y) {
  if (cols > 0) launch_rows("softmax", rows, cols, softmax_rows<T>, x, y);
}

template <class T>
__global__ void __launch_bounds__(256)
    softmax_backward_rows(int64_t cols, const T* y, const T* dy, T* dx, double beta) {
  const int64_t at = blockIdx.x * cols;
  double sum = 0;
  for_columns(cols, [&](int64_t i) { sum += static_cast<double>(y[at + i]) * static_cast<double>(dy[at + i]); });
  const T dot = static_cast<T>(block_sum(sum, shared_memory<double>()));
  for_columns(cols,
              [&](int64_t i) { put(dx[at + i], formulas::normaliser_gradient(y[at + i], dy[at + i], dot), beta); });
}

template <class T>
void softmax_backward(int64_t rows, int64_t cols, const T* y, const T* dy, T* dx, double beta) {
  if (cols > 0) launch_rows("softmax_backward", rows, cols, softmax_backward_rows<T>, y, dy, dx, beta);
}

template <class T>
__global__ void __launch_bounds__(256) log_softmax_rows(int64_t cols, const T* x, T* y) {
  const int64_t at = blockIdx.x * cols;
  const RowSum<T> row = row_sum(cols, x + at);
  const T log_sum = static_cast<T>(Math::log(row.sum));
  for_columns(cols, [&](int64_t i) { y[at + i] = LogSoftmax<T>::value(x[at + i], row.max, log_sum); });
}

template <class T>
void log_softmax(int64_t rows, int64_t cols, const T* x, T* y) {
  if (cols > 0) launch_rows("log_softmax", rows, cols, log_softmax_rows<T>, x, y);
}

template <class T>
__global__ void __launch_bounds__(256)
    log_softmax_backward_rows(int64_t cols, const T* y, const T* dy, T* dx, double beta) {
  const int64_t at = blockIdx.x * cols;
  double sum = 0;
  for_columns(cols, [&](int64_t i) { sum += static_cast<double>(dy[at + i]); });
  const T total = static_cast<T>(block_sum(sum, shared_memory<double>()));
  for_columns(cols, [&](int64_t i) { put(dx[at + i], LogSoftmax<T>::gradient(y[at + i], dy[at + i], total), beta); });
}

template <class T>
void log_softmax_backward(int64_t rows, int64_t cols, const T* y, const T* dy, T* dx, double beta) {
  if (cols > 0) launch_rows("log_softmax_backward", rows, cols, log_softmax_backward_rows<T>, y, dy, dx, beta);
}

template <class T>
__global__ void __launch_bounds__(256)
    cross_entropy_rows(int64_t cols, const T* logits, const int32_t* labels, T* losses, T* probabilities) {
  const int64_t at = blockIdx.x * cols;
  const RowSum<T> row = row_sum(cols, logits + at);
  if (threadIdx.x == 0) {
    const auto x = static_cast<double>(logits[at + labels[blockIdx.x]]);
    losses[blockIdx.x] = static_cast<T>(CrossEntropy<T>::loss(x, static_cast<double>(row.max), row.sum));
  }
  put_softmax(cols, logits + at, row, probabilities + at);
}

template <class T>
void cross_entropy(int64_t rows, int64_t cols, const T* logits, const int32_t* labels, T* losses, T* probabilities) {
  if (cols > 0) launch_rows("cross_entropy", rows, cols, cross_entropy_rows<T>, logits, labels, losses, probabilities);
}

template <class T>
void cross_entropy_backward(int64_t rows, int64_t cols, const T* probabilities, const int32_t* labels, const T* dy,
                            T* dlogits, double beta) {
  for_elements("cross_entropy_backward", rows * cols, [=] __device__(int64_t i) {
    const T dy_per_row = static_cast<T>(static_cast<double>(*dy) / static_cast<double>(rows));
    const Cell at = cell_of(i, cols);
    put(dlogits[i], CrossEntropy<T>::gradient(probabilities[i], at.col == labels[at.row], dy_per_row), beta);
  });
}

}  // namespace

void fill_softmax(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) {
    table.softmax = softmax<T>;
    table.softmax_backward = softmax_backward<T>;
    table.log_softmax = log_softmax<T>;
    table.log_softmax_backward = log_softmax_backward<T>;
    table.cross_entropy = cross_entropy<T>;
    table.cross_entropy_backward = cross_entropy_backward<T>;
  });
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
