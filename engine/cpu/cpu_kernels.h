// Shared by the CPU kernel files, which are compiled once per instruction set, with CRISP_ISA naming the namespace. All
// in them must live there or be always inlined: a template of another namespace (std::sort, std::vector), compiled
// for AVX-512, could be the copy that the linker keeps for everyone. tests/check_isa_symbols.cmake looks for
// violations.
#pragma once

#include <cstdint>

#include "engine/cpu/memory/workspace.h"
#include "engine/cpu/tables.h"
#include "engine/cpu/threads/team.h"

#ifndef CRISP_ISA
#error "compile the CPU kernels with -DCRISP_ISA=cpu_<instruction set>"
#endif

namespace crisp::CRISP_ISA {

/// What each kernel file puts its functions into the tables with.
using Fill = void(Tables& tables);
Fill fill_elementwise, fill_reduce, fill_move, fill_gemm, fill_softmax, fill_layer_norm, fill_attention,
    fill_attention_backward, fill_adamw;

/// f(table) for both.
template <class F>
CRISP_INLINE void for_types(Tables& tables, F f) {
  f(tables.f32);
  f(tables.f64);
}

/// Work below this many elements is not worth waking other threads for. Loops whose iterations are independent give the
/// same bits either way.
constexpr int64_t parallel_threshold = 16384;

// --- parallel loops and fixed-order sums -----------------------------------------------------------------------------
// Work is cut into chunks whose bounds depend on the sizes alone, and threads take whole ones: an element meets the
// same instructions (vector body or scalar rest) at any thread count.

constexpr int64_t chunk_size = 4096;

CRISP_INLINE int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
CRISP_INLINE int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
CRISP_INLINE int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

/// f(begin, end) over 0..n in chunks. F must be a lambda of the kernel file (its type gives the loop internal linkage).
template <class F>
void for_chunks(int64_t n, F f) {
  const int64_t chunks = divide_up(n, chunk_size);
  parallel_for(chunks, threads_if(n >= parallel_threshold),
               [=](int64_t c) { f(c * chunk_size, min_of(n, (c + 1) * chunk_size)); });
}

/// f(i) for i in 0..n-1, in chunks. f is to be CRISP_INLINED.
template <class F>
void for_elements(int64_t n, F f) {
  for_chunks(n, [=](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

/// f(row) for each of `rows` independent rows of `cols` elements.
template <class F>
void for_rows(int64_t rows, int64_t cols, F f) {
  parallel_for(rows, threads_if(rows * cols >= parallel_threshold), [=](int64_t r) { f(r); });
}

/// f(row, begin, end): rows of `cols` elements, each cut into chunks.
template <class F>
void for_row_chunks(int64_t rows, int64_t cols, F f) {
  const int64_t across = divide_up(cols, chunk_size), tasks = rows * across;
  parallel_for(tasks, threads_if(rows * cols >= parallel_threshold), [=](int64_t t) {
    const int64_t begin = t % across * chunk_size;
    f(t / across, begin, min_of(cols, begin + chunk_size));
  });
}

/// out[i] = value(i) + beta out[i] for begin <= i < end. `value` is to be CRISP_INLINED.
template <class T, class F>
CRISP_INLINE void put(int64_t begin, int64_t end, T* out, double beta, F value) {
  if (beta == 0) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) out[i] = value(i);
  } else {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) out[i] += value(i);
  }
}

/// The sum of f(i) over begin <= i < end: over a row, or one chunk.
template <class F>
CRISP_INLINE double sum_over(int64_t begin, int64_t end, F f) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = begin; i < end; ++i) sum += static_cast<double>(f(i));
  return sum;
}

/// Adds f(i) over 0..n in f64, chunk by chunk: the same value whether or not the chunks run in parallel.
template <class F>
double sum_chunks(int64_t n, bool parallel, F f) {
  const int64_t chunks = divide_up(n, chunk_size);
  const auto chunk = [=](int64_t c) { return sum_over(c * chunk_size, min_of(n, (c + 1) * chunk_size), f); };
  double total = 0;
  if (chunks <= 1 || !parallel) {
    for (int64_t c = 0; c < chunks; ++c) total += chunk(c);
    return total;
  }
  auto* partial = static_cast<double*>(thread_workspace(static_cast<size_t>(chunks) * sizeof(double)));
  parallel_for(chunks, num_threads(), [=](int64_t c) { partial[c] = chunk(c); });
  for (int64_t c = 0; c < chunks; ++c) total += partial[c];
  return total;
}

constexpr int64_t block_cols = 512;  // of column sums: accumulators of a task, 4 KiB
constexpr int64_t max_row_chunks = 64;

/// out[c] = sum over rows + beta out[c], in f64. part(first, count, col, width, total) sums `count` rows from `first`
/// on, of the `width` columns from `col` on, into total[0 .. width-1]; the partial sums are added in the order of the
/// rows. It is called once for every element, from several threads. out may be null.
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
