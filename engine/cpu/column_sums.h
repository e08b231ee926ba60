// Sums over the columns of a matrix, in f64 and in a fixed order.
#pragma once

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/loops.h"

namespace crisp::CRISP_ISA {

constexpr int64_t block_cols = 512;  // accumulators of a task: 4 KiB
constexpr int64_t max_row_chunks = 64;

/// out[c] = sum over rows + beta out[c]. part(first, count, col, width, total) sums `count` rows from `first` on, of
/// the `width` columns from `col` on, into total[0 .. width-1]; the partial sums are added in the order of the rows. It
/// is called once for every element, from several threads. out may be null.
template <class T, class F>
void column_sums(int64_t rows, int64_t cols, T* out, double beta, F part) {
  const int64_t chunk = max_of(64, divide_up(rows, max_row_chunks));
  const int64_t chunks = max_of(1, divide_up(rows, chunk)), blocks = divide_up(cols, block_cols);
  auto* partial = static_cast<double*>(thread_workspace(static_cast<size_t>(chunks * cols) * sizeof(double)));
  const bool parallel = rows * cols >= parallel_threshold;
  parallel_for(chunks * blocks, threads_if(parallel), [=](int64_t task) {
    const int64_t first = task / blocks * chunk, col = task % blocks * block_cols;
    part(first, min_of(chunk, rows - first), col, min_of(block_cols, cols - col), partial + task / blocks * cols + col);
  });
  if (!out) return;
  parallel_for(blocks, threads_if(chunks * cols >= parallel_threshold), [=](int64_t block) {
    const int64_t from = block * block_cols, to = min_of(cols, from + block_cols);
    for (int64_t k = 1; k < chunks; ++k) {
#pragma omp simd
      for (int64_t c = from; c < to; ++c) partial[c] += partial[k * cols + c];
    }
    for (int64_t c = from; c < to; ++c)
      out[c] = static_cast<T>(partial[c] + (beta == 0 ? 0.0 : static_cast<double>(out[c])));
  });
}

}  // namespace crisp::CRISP_ISA
