// Reductions. Sums are formed in f64 and in a fixed order.
#include "engine/cpu/cpu_kernels.h"

namespace crisp::CRISP_ISA {
namespace {

template <class T>
[[gnu::always_inline]] inline void add_block(int64_t rows, int64_t width, const T* x, int64_t stride, double* total) {
  for (int64_t i = 0; i < width; ++i) total[i] = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = x + r * stride;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) total[i] += static_cast<double>(row[i]);
  }
}

template <class T>
void reduce(ReduceOp op, int64_t outer, int64_t n, int64_t inner, const T* x, T* out) {
  // The mean over nothing is 0 / 0, NaN.
  const auto finish = [=](double total) {
    return static_cast<T>(op == ReduceOp::mean ? total / static_cast<double>(n) : total);
  };
  if (inner == 1) {
    if (outer == 1) {
      out[0] = finish(sum_chunks(n, n >= parallel_threshold, [=](int64_t i) { return x[i]; }));
      return;
    }
    for_rows(outer, n, [=](int64_t r) {
      const T* row = x + r * n;
      out[r] = finish(sum_chunks(n, false, [=](int64_t i) { return row[i]; }));
    });
    return;
  }
  const int64_t blocks = divide_up(inner, block_cols);
  parallel_for(outer * blocks, threads_if(outer * n * inner >= parallel_threshold), [=](int64_t task) {
    const int64_t o = task / blocks, from = task % blocks * block_cols, width = min_of(block_cols, inner - from);
    double total[block_cols];
    add_block(n, width, x + o * n * inner + from, inner, total);
    for (int64_t i = 0; i < width; ++i) out[o * inner + from + i] = finish(total[i]);
  });
}

template <class T>
void reduce_backward(ReduceOp op, int64_t outer, int64_t n, int64_t inner, const T* dy, T* dx, double beta) {
  const T factor = op == ReduceOp::mean ? static_cast<T>(1.0 / static_cast<double>(n)) : T(1);
  if (inner == 1) {
    for_row_chunks(outer, n, [=](int64_t r, int64_t begin, int64_t end) {
      const T g = factor * dy[r];
      put(begin, end, dx + r * n, beta, [=](int64_t) CRISP_INLINED { return g; });
    });
    return;
  }
  for_row_chunks(outer * n, inner, [=](int64_t r, int64_t begin, int64_t end) {
    const T* g = dy + r / n * inner;
    put(begin, end, dx + r * inner, beta, [=](int64_t i) CRISP_INLINED { return factor * g[i]; });
  });
}

template <class T>
void max(int64_t outer, int64_t n, int64_t inner, const T* x, T* out, int32_t* index) {
  for_rows(outer, n * inner, [=](int64_t o) {
    const T* block = x + o * n * inner;
    T* best = out + o * inner;
    int32_t* at = index + o * inner;
    for (int64_t i = 0; i < inner; ++i) {
      best[i] = block[i];
      at[i] = 0;
    }
    for (int64_t k = 1; k < n; ++k) {
      const T* row = block + k * inner;
      for (int64_t i = 0; i < inner; ++i) {
        const T v = row[i];
        const bool larger = v > best[i] || (v != v && best[i] == best[i]);  // the first NaN beats every number
        best[i] = larger ? v : best[i];
        at[i] = larger ? static_cast<int32_t>(k) : at[i];
      }
    }
  });
}

template <class T>
void max_backward(int64_t outer, int64_t n, int64_t inner, const T* dy, const int32_t* index, T* dx, double beta) {
  for_rows(outer, n * inner, [=](int64_t o) {
    T* block = dx + o * n * inner;
    if (beta == 0) {
      for (int64_t i = 0; i < n * inner; ++i) block[i] = 0;
    }
    for (int64_t i = 0; i < inner; ++i) block[index[o * inner + i] * inner + i] += dy[o * inner + i];
  });
}

template <class T>
void column_sum(int64_t rows, int64_t cols, const T* x, int64_t x_stride, T* out, double beta) {
  column_sums(rows, cols, out, beta, [=](int64_t first, int64_t count, int64_t col, int64_t width, double* total) {
    add_block(count, width, x + first * x_stride + col, x_stride, total);
  });
}

template <class T>
void squares_of(int64_t rows, int64_t cols, const T* x, double* out) {
  const auto square = [](T v) { return static_cast<double>(v) * static_cast<double>(v); };
  if (rows == 1) {
    *out = sum_chunks(cols, cols >= parallel_threshold, [=](int64_t i) { return square(x[i]); });
    return;
  }
  auto* const sums = static_cast<double*>(thread_workspace(static_cast<size_t>(rows) * sizeof(double)));
  for_rows(rows, cols,
           [=](int64_t r) { sums[r] = sum_chunks(cols, false, [=](int64_t i) { return square(x[r * cols + i]); }); });
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) sum += sums[r];
  *out = sum;
}

template <class T>
void sum_squares(int64_t count, const SquaresOf<T>* matrices) {
  for (int64_t i = 0; i < count; ++i) squares_of(matrices[i].rows, matrices[i].cols, matrices[i].x, matrices[i].out);
}

template <class T>
void all_finite(int64_t n, const T* x, int32_t* out) {
  *out = 1;
  for_chunks(n, [=](int64_t begin, int64_t end) {
    int32_t found = 0;
#pragma omp simd reduction(| : found)
    for (int64_t i = begin; i < end; ++i) found |= x[i] - x[i] == T(0) ? 0 : 1;  // inf - inf is NaN
    if (found) __atomic_store_n(out, 0, __ATOMIC_RELAXED);
  });
}

}  // namespace

void fill_reduce(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) {
    table.reduce = reduce<T>;
    table.reduce_backward = reduce_backward<T>;
    table.max = max<T>;
    table.max_backward = max_backward<T>;
    table.column_sum = column_sum<T>;
    table.sum_squares = sum_squares<T>;
    table.all_finite = all_finite<T>;
  });
}

}  // namespace crisp::CRISP_ISA
