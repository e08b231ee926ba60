// Reductions. Sums are formed in f64 and in a fixed order.
#include "engine/cuda/epilogue.h"
#include "engine/cuda/sums.cuh"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

template <class T>
void reduce(ReduceOp op, int64_t outer, int64_t n, int64_t inner, const T* x, T* out) {
  const double count = op == ReduceOp::mean ? static_cast<double>(n) : 1;  // the mean over nothing is 0 / 0, NaN
  const auto value = [=] __device__(int64_t o, int64_t k, int64_t i) { return x[(o * n + k) * inner + i]; };
  const auto finish = [=] __device__(int64_t at, double total) { out[at] = static_cast<T>(total / count); };
  if (inner == 1) {
    row_sums("reduce", outer, n, value, finish);
  } else {
    column_sums("reduce", outer, n, inner, value, finish);
  }
}

template <class T>
void reduce_backward(ReduceOp op, int64_t outer, int64_t n, int64_t inner, const T* dy, T* dx, double beta) {
  const T factor = op == ReduceOp::mean ? static_cast<T>(1.0 / static_cast<double>(n)) : T(1);
  for_elements("reduce_backward", outer * n * inner, [=] __device__(int64_t e) {
    const Cell row = cell_of(e, inner);
    put(dx[e], factor * dy[cell_of(row.row, n).row * inner + row.col], beta);
  });
}

// Whether a, at position i, comes before b at position j: the first of the largest, and a NaN is larger than
// everything.
template <class T>
__device__ __forceinline__ bool comes_first(T a, int32_t i, T b, int32_t j) {
  const bool a_is_nan = a != a, b_is_nan = b != b;
  if (a > b || (a_is_nan && !b_is_nan)) return true;
  return (a == b || (a_is_nan && b_is_nan)) && i < j;
}

// A warp per row.
template <class T>
__global__ void __launch_bounds__(256) max_of_rows(int64_t rows, int64_t n, const T* x, T* out, int32_t* index) {
  const int64_t row = thread_index() / warp;
  const auto lane = static_cast<int32_t>(threadIdx.x % warp);
  if (row >= rows) return;  // all lanes
  const T* const mine = x + row * n;
  int32_t at = lane < n ? lane : 0;
  T best = mine[at];
  for (int64_t k = lane + warp; k < n; k += warp) {
    const T v = mine[k];
    const auto here = static_cast<int32_t>(k);
    if (comes_first(v, here, best, at)) best = v, at = here;
  }
  for (int distance = 16; distance > 0; distance >>= 1) {
    const T other = __shfl_xor_sync(all_lanes, best, distance);
    const int32_t other_at = __shfl_xor_sync(all_lanes, at, distance);
    if (comes_first(other, other_at, best, at)) best = other, at = other_at;
  }
  if (lane == 0) out[row] = best, index[row] = at;
}

template <class T>
void max(int64_t outer, int64_t n, int64_t inner, const T* x, T* out, int32_t* index) {
  if (inner == 1) {
    launch("max", {.blocks = divide_up(outer, 8)}, max_of_rows<T>, outer, n, x, out, index);
    return;
  }
  for_elements("max", outer * inner, [=] __device__(int64_t e) {
    const Cell cell = cell_of(e, inner);
    const T* const column = x + cell.row * n * inner + cell.col;
    T best = column[0];
    int32_t at = 0;
    for (int64_t k = 1; k < n; ++k) {
      const T v = column[k * inner];
      const auto here = static_cast<int32_t>(k);
      if (comes_first(v, here, best, at)) best = v, at = here;
    }
    out[e] = best;
    index[e] = at;
  });
}

template <class T>
void max_backward(int64_t outer, int64_t n, int64_t inner, const T* dy, const int32_t* index, T* dx, double beta) {
  if (beta != 0) {  // only the maxima change
    for_elements("max_backward", outer * inner, [=] __device__(int64_t e) {
      const Cell cell = cell_of(e, inner);
      dx[(cell.row * n + index[e]) * inner + cell.col] += dy[e];
    });
    return;
  }
  for_elements("max_backward", outer * n * inner, [=] __device__(int64_t e) {
    const Cell row = cell_of(e, inner), block = cell_of(row.row, n);
    const int64_t maximum = block.row * inner + row.col;
    dx[e] = index[maximum] == block.col ? dy[maximum] : T(0);
  });
}

template <class T>
void all_finite(int64_t n, const T* x, int32_t* out) {
  row_sums(
      "all_finite", 1, n,
      [=] __device__(int64_t, int64_t i, int64_t) { return x[i] - x[i] == T(0) ? 0 : 1; },  // inf - inf is NaN
      [=] __device__(int64_t, double found) { *out = found == 0 ? 1 : 0; });
}

}  // namespace

template <class T>
void column_sum(int64_t rows, int64_t cols, const T* x, int64_t x_stride, T* out, double beta) {
  column_sums(
      "column_sum", 1, rows, cols, [=] __device__(int64_t, int64_t r, int64_t c) { return x[r * x_stride + c]; },
      PutSum<T>{out, beta});
}
template void column_sum(int64_t, int64_t, const float*, int64_t, float*, double);
template void column_sum(int64_t, int64_t, const double*, int64_t, double*, double);

void fill_reduce(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) {
    table.reduce = reduce<T>;
    table.reduce_backward = reduce_backward<T>;
    table.max = max<T>;
    table.max_backward = max_backward<T>;
    table.column_sum = column_sum<T>;
    table.all_finite = all_finite<T>;
  });
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
