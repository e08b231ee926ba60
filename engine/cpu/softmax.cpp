// Softmax, its logarithm, and cross-entropy, over rows. The row maximum is subtracted first, so that no exponential
// overflows; sums are formed in f64. A row of -infinity only gives NaN.
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/simd/math.h"

namespace crisp::CRISP_ISA {
namespace {

template <class T>
using Softmax = formulas::Softmax<T, Math>;
template <class T>
using LogSoftmax = formulas::LogSoftmax<T, Math>;
template <class T>
using CrossEntropy = formulas::CrossEntropy<T, Math>;

template <class T>
CRISP_INLINE T row_max(int64_t cols, const T* x) {
  T m = x[0];
#pragma omp simd reduction(max : m)
  for (int64_t i = 1; i < cols; ++i) m = m < x[i] ? x[i] : m;  // a NaN may be lost here; the exponential brings it back
  return m;
}

// Their sum is returned.
template <class T>
CRISP_INLINE double exponentials(int64_t cols, const T* x, T m, T* y) {
  return sum_over(0, cols, [=](int64_t i) CRISP_INLINED { return y[i] = Softmax<T>::exponential(x[i], m); });
}

// exponentials() become the softmax.
template <class T>
CRISP_INLINE void divide_by(int64_t cols, double sum, T* y) {
  const T inverse = static_cast<T>(1 / sum);
#pragma omp simd
  for (int64_t i = 0; i < cols; ++i) y[i] = Softmax<T>::value(y[i], inverse);
}

template <class T>
void softmax(int64_t rows, int64_t cols, const T* x, T* y) {
  if (cols == 0) return;
  for_rows(rows, cols, [=](int64_t r) {
    const T* in = x + r * cols;
    divide_by(cols, exponentials(cols, in, row_max(cols, in), y + r * cols), y + r * cols);
  });
}

template <class T>
void softmax_backward(int64_t rows, int64_t cols, const T* y, const T* dy, T* dx, double beta) {
  for_rows(rows, cols, [=](int64_t r) {
    const T* p = y + r * cols;
    const T* g = dy + r * cols;
    T* d = dx + r * cols;
    const auto product = [=](int64_t i) { return static_cast<double>(p[i]) * static_cast<double>(g[i]); };
    const T dot = static_cast<T>(sum_over(0, cols, product));
    const auto gradient = [=](int64_t i) CRISP_INLINED { return formulas::normaliser_gradient(p[i], g[i], dot); };
    put(0, cols, d, beta, gradient);
  });
}

template <class T>
void log_softmax(int64_t rows, int64_t cols, const T* x, T* y) {
  if (cols == 0) return;
  for_rows(rows, cols, [=](int64_t r) {
    const T* in = x + r * cols;
    T* out = y + r * cols;
    const T m = row_max(cols, in);
    const T log_sum = static_cast<T>(Math::log(exponentials(cols, in, m, out)));
#pragma omp simd
    for (int64_t i = 0; i < cols; ++i) out[i] = LogSoftmax<T>::value(in[i], m, log_sum);
  });
}

template <class T>
void log_softmax_backward(int64_t rows, int64_t cols, const T* y, const T* dy, T* dx, double beta) {
  for_rows(rows, cols, [=](int64_t r) {
    const T* l = y + r * cols;
    const T* g = dy + r * cols;
    T* d = dx + r * cols;
    const T total = static_cast<T>(sum_over(0, cols, [=](int64_t i) { return g[i]; }));
    const auto gradient = [=](int64_t i) CRISP_INLINED { return LogSoftmax<T>::gradient(l[i], g[i], total); };
    put(0, cols, d, beta, gradient);
  });
}

template <class T>
void cross_entropy(int64_t rows, int64_t cols, const T* logits, const int32_t* labels, T* losses, T* probabilities) {
  if (cols == 0) return;
  for_rows(rows, cols, [=](int64_t r) {
    const T* x = logits + r * cols;
    T* p = probabilities + r * cols;
    const T m = row_max(cols, x);
    const double sum = exponentials(cols, x, m, p);
    losses[r] = static_cast<T>(CrossEntropy<T>::loss(static_cast<double>(x[labels[r]]), static_cast<double>(m), sum));
    divide_by(cols, sum, p);
  });
}

template <class T>
void cross_entropy_backward(int64_t rows, int64_t cols, const T* probabilities, const int32_t* labels, const T* dy,
                            T* dlogits, double beta) {
  const T dy_per_row = static_cast<T>(static_cast<double>(*dy) / static_cast<double>(rows));
  for_rows(rows, cols, [=](int64_t r) {
    const T* p = probabilities + r * cols;
    T* d = dlogits + r * cols;
    const int64_t label = labels[r];
    const auto gradient = [=](int64_t i)
                              CRISP_INLINED { return CrossEntropy<T>::gradient(p[i], i == label, dy_per_row); };
    put(0, cols, d, beta, gradient);
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

}  // namespace crisp::CRISP_ISA
