// Rows of tables: gather for the forward pass of embeddings, scatter-add for the backward pass.
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/loops.h"

namespace crisp::CRISP_ISA {
namespace {

template <class T>
void gather_rows(StreamHandle, int64_t n, int64_t cols, const int32_t* ids, const T* table, T* out, double beta) {
  for_rows(n, cols, [=](int64_t i) {
    const T* from = table + ids[i] * cols;
    T* to = out + i * cols;
    if (beta == 0) {
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) to[c] = from[c];
    } else {
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) to[c] += from[c];
    }
  });
}

// Positions 0..n-1 in order of (id, position): a radix sort by bytes, stable and linear. `order` and `spare` hold n
// each; returns the one that holds the result.
int32_t* sorted_positions(int64_t n, int64_t rows, const int32_t* ids, int32_t* order, int32_t* spare) {
  for (int64_t i = 0; i < n; ++i) order[i] = static_cast<int32_t>(i);
  for (int shift = 0; shift < 32 && (rows - 1) >> shift > 0; shift += 8) {
    int64_t start[257];
    for (int64_t& s : start) s = 0;
    for (int64_t i = 0; i < n; ++i) ++start[((ids[order[i]] >> shift) & 255) + 1];
    for (int k = 0; k < 256; ++k) start[k + 1] += start[k];
    for (int64_t i = 0; i < n; ++i) spare[start[(ids[order[i]] >> shift) & 255]++] = order[i];
    int32_t* const swapped = order;
    order = spare;
    spare = swapped;
  }
  return order;
}

template <class T>
[[gnu::always_inline]] inline void sum_rows(int64_t count, const int32_t* positions, int64_t cols, const T* dy, T* out,
                                            double beta) {
  const T* first = dy + positions[0] * cols;
  if (beta == 0) {
    for (int64_t c = 0; c < cols; ++c) out[c] = first[c];
  } else {
#pragma omp simd
    for (int64_t c = 0; c < cols; ++c) out[c] += first[c];
  }
  for (int64_t k = 1; k < count; ++k) {
    const T* row = dy + positions[k] * cols;
#pragma omp simd
    for (int64_t c = 0; c < cols; ++c) out[c] += row[c];
  }
}

template <class T>
void scatter_rows(StreamHandle, int64_t n, int64_t rows, int64_t cols, const int32_t* ids, const T* dy, T* dtable,
                  double beta) {
  // Three arrays of n (order, spare, starts of runs) and, for beta = 0, the run of each table row or -1.
  const bool overwrite = beta == 0;
  auto* order = static_cast<int32_t*>(
      thread_workspace(static_cast<size_t>(3 * n + 1 + (overwrite ? rows : 0)) * sizeof(int32_t)));
  int32_t* const starts = order + 2 * n;
  int32_t* const run_of = starts + n + 1;
  const int32_t* const sorted = sorted_positions(n, rows, ids, order, order + n);
  int64_t runs = 0;
  for (int64_t i = 0; i < n; ++i)
    if (i == 0 || ids[sorted[i]] != ids[sorted[i - 1]]) starts[runs++] = static_cast<int32_t>(i);
  starts[runs] = static_cast<int32_t>(n);

  if (!overwrite) {
    for_rows(runs, cols, [=](int64_t k) {
      const int32_t* positions = sorted + starts[k];
      sum_rows(starts[k + 1] - starts[k], positions, cols, dy, dtable + ids[positions[0]] * cols, 1);
    });
    return;
  }
  for (int64_t r = 0; r < rows; ++r) run_of[r] = -1;
  for (int64_t k = 0; k < runs; ++k) run_of[ids[sorted[starts[k]]]] = static_cast<int32_t>(k);
  for_rows(rows, cols, [=](int64_t r) {
    T* out = dtable + r * cols;
    const int32_t k = run_of[r];
    if (k < 0) {
      for (int64_t c = 0; c < cols; ++c) out[c] = 0;
    } else {
      sum_rows(starts[k + 1] - starts[k], sorted + starts[k], cols, dy, out, 0);
    }
  });
}

}  // namespace

template <class T>
void fill_rows(Kernels<T>& table) {
  table.gather_rows = gather_rows<T>;
  table.scatter_rows = scatter_rows<T>;
}
template void fill_rows(Kernels<float>&);
template void fill_rows(Kernels<double>&);

}  // namespace crisp::CRISP_ISA
