// Sums along rows and along columns, of any function of the position. They are formed in f64, in an order that depends
// on the sizes alone: a thread adds every so many elements, then a block its threads, and where a sum is too long for
// one block the second launch adds those of several.
#pragma once

#include <algorithm>

#include "engine/cuda/kernels.cuh"
#include "engine/cuda/rules.h"

namespace crisp::CRISP_CUDA_NAMESPACE {

/// Threads for a row of `cols` elements: about four elements each, at most 256 threads.
inline unsigned row_threads(int64_t cols) {
  return warp * static_cast<unsigned>(std::clamp<int64_t>(divide_up(cols, 4 * warp), 1, 8));
}

using cuda_rules::enough_blocks;

/// What most sums end with: out = total + beta out, where beta is 0 (then out is not read) or 1, rounded once.
template <class T>
struct PutSum {
  T* out;
  double beta;
  __device__ __forceinline__ void operator()(int64_t at, double total) const {
    out[at] = static_cast<T>(beta == 0 ? total : total + static_cast<double>(out[at]));
  }
};

/// Takes partial sums, then gives them.
struct PartialSums {
  double* sums;
  int64_t count, cols;  // of each sum, and how many lie side by side
  __device__ __forceinline__ void operator()(int64_t at, double sum) const { sums[at] = sum; }
  __device__ __forceinline__ double operator()(int64_t row, int64_t part, int64_t col) const {
    return sums[(row * count + part) * cols + col];
  }
};

template <class Value, class Finish>
__global__ void __launch_bounds__(256)
    row_sum_blocks(int64_t n, int64_t chunk, int64_t chunks, Value value, Finish finish) {
  const Cell at = cell_of(blockIdx.x, chunks);
  const int64_t begin = at.col * chunk, end = begin + chunk < n ? begin + chunk : n;
  double sum = 0;
#pragma unroll 4
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) sum += static_cast<double>(value(at.row, i, 0));
  sum = block_sum(sum, shared_memory<double>());
  if (threadIdx.x == 0) finish(blockIdx.x, sum);
}

/// finish(row, sum over i < n of value(row, i, 0)) for each row; neighbouring i are neighbouring threads. One launch,
/// or two for few long rows.
template <class Value, class Finish>
void row_sums(const char* name, int64_t rows, int64_t n, Value value, Finish finish) {
  if (rows == 0) return;
  const auto run = [=](int64_t parts, int64_t chunks, int64_t length, auto of, auto then) {
    const int64_t chunk = divide_up(length, chunks);
    const unsigned threads = row_threads(chunk);
    launch(name, {.blocks = parts * chunks, .threads = threads, .shared = threads / warp * sizeof(double)},
           row_sum_blocks<decltype(of), decltype(then)>, length, chunk, chunks, of, then);
  };
  const int64_t chunks = std::max<int64_t>(1, std::min(divide_up(n, 4096), enough_blocks / rows));
  if (chunks == 1) return run(rows, 1, n, value, finish);
  const PartialSums partial{scratch_of<double>(rows * chunks), chunks, 1};
  run(rows, chunks, n, value, partial);
  run(rows, 1, chunks, partial, finish);
}

template <class Value, class Finish>
__global__ void __launch_bounds__(256)
    column_sum_blocks(int64_t n, int64_t cols, int64_t chunk, int64_t chunks, Value value, Finish finish) {
  double* const room = shared_memory<double>();
  const unsigned lane = threadIdx.x % warp, lines = blockDim.x / warp;
  const Cell at = cell_of(blockIdx.x, divide_up(cols, warp)), part = cell_of(at.row, chunks);
  const int64_t begin = part.col * chunk, end = begin + chunk < n ? begin + chunk : n, col = at.col * warp + lane;
  double sum = 0;
  if (col < cols) {
#pragma unroll 4
    for (int64_t i = begin + threadIdx.x / warp; i < end; i += lines)
      sum += static_cast<double>(value(part.row, i, col));
  }
  room[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x >= warp || col >= cols) return;
  for (unsigned line = 1; line < lines; ++line) sum += room[line * warp + lane];
  finish(at.row * cols + col, sum);
}

/// As column_sums() below, whose chunks of rows (all in one: 1) these are: out[row, chunk, col] in one launch.
template <class Value, class Finish>
void column_sums_at_once(const char* name, int64_t rows, int64_t n, int64_t cols, Value value, Finish finish,
                         int64_t chunks = 1) {
  constexpr unsigned threads = 256;
  launch(name,
         {.blocks = rows * divide_up(cols, warp) * chunks, .threads = threads, .shared = threads * sizeof(double)},
         column_sum_blocks<Value, Finish>, n, cols, divide_up(n, chunks), chunks, value, finish);
}

/// finish(row * cols + col, sum over i < n of value(row, i, col)) for each row and col; neighbouring columns are
/// neighbouring threads. Calls `value` once for each. One launch for n <= 64, else at most two.
template <class Value, class Finish>
void column_sums(const char* name, int64_t rows, int64_t n, int64_t cols, Value value, Finish finish) {
  const int64_t blocks = rows * divide_up(cols, warp);
  if (blocks == 0) return;
  const int64_t chunks = std::max<int64_t>(1, std::min(divide_up(n, 64), divide_up(enough_blocks, blocks)));
  if (chunks == 1) return column_sums_at_once(name, rows, n, cols, value, finish);
  const PartialSums partial{scratch_of<double>(rows * chunks * cols), chunks, cols};
  column_sums_at_once(name, rows, n, cols, value, partial, chunks);
  column_sums_at_once(name, rows, chunks, cols, partial, finish);
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
