// Parallel loops and fixed-order sums that several kernel files share.
//
// Work is cut into chunks whose bounds depend on the sizes alone. Threads take whole chunks, so an element meets the
// same instructions (vector body or scalar rest) and a sum the same order of additions at any thread count.
#pragma once

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/threads/team.h"

namespace crisp::CRISP_ISA {

constexpr int64_t chunk_size = 4096;

[[gnu::always_inline]] inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
[[gnu::always_inline]] inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
[[gnu::always_inline]] inline int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

/// f(begin, end) over 0..n in chunks. F must be a lambda of the kernel file (its type gives the loop internal linkage).
template <class F>
void for_chunks(int64_t n, F f) {
  const int64_t chunks = divide_up(n, chunk_size);
  parallel_for(chunks, threads_if(n >= parallel_threshold),
               [=](int64_t c) { f(c * chunk_size, min_of(n, (c + 1) * chunk_size)); });
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

/// The sum of f(i) over one chunk.
template <class F>
[[gnu::always_inline]] inline double chunk_sum(int64_t begin, int64_t end, F f) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = begin; i < end; ++i) sum += f(i);
  return sum;
}

/// Adds f(i) over 0..n in f64, chunk by chunk: the same value whether or not the chunks run in parallel.
template <class F>
double sum_chunks(int64_t n, bool parallel, F f) {
  const int64_t chunks = divide_up(n, chunk_size);
  double total = 0;
  if (chunks <= 1 || !parallel) {
    for (int64_t c = 0; c < chunks; ++c) total += chunk_sum(c * chunk_size, min_of(n, (c + 1) * chunk_size), f);
    return total;
  }
  auto* partial = static_cast<double*>(thread_workspace(static_cast<size_t>(chunks) * sizeof(double)));
  parallel_for(chunks, num_threads(),
               [=](int64_t c) { partial[c] = chunk_sum(c * chunk_size, min_of(n, (c + 1) * chunk_size), f); });
  for (int64_t c = 0; c < chunks; ++c) total += partial[c];
  return total;
}

}  // namespace crisp::CRISP_ISA
