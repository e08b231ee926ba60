// Rows of tables: gather for the forward pass of embeddings, scatter-add for the backward pass.
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/loops.h"
#include "engine/cpu/math.h"

namespace crisp::CRISP_ISA {
namespace {

template <class T>
void gather_rows(int64_t n, int64_t cols, const int32_t* ids, const T* table, T* out, double beta) {
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

// The positions of equal ids, as runs of `sorted`: run k is sorted[starts[k]] .. sorted[starts[k + 1]], in order of the
// positions, and the runs are in order of their ids. All of it in the calling thread's workspace.
struct Runs {
  const int32_t* sorted;
  const int32_t* starts;
  int64_t count;
  int32_t* spare;  // what else was asked for
};

Runs runs_of(int64_t n, int64_t rows, const int32_t* ids, int64_t spare) {
  auto* order = static_cast<int32_t*>(thread_workspace(static_cast<size_t>(3 * n + 1 + spare) * sizeof(int32_t)));
  int32_t* const starts = order + 2 * n;
  const int32_t* const sorted = sorted_positions(n, rows, ids, order, order + n);
  int64_t runs = 0;
  for (int64_t i = 0; i < n; ++i)
    if (i == 0 || ids[sorted[i]] != ids[sorted[i - 1]]) starts[runs++] = static_cast<int32_t>(i);
  starts[runs] = static_cast<int32_t>(n);
  return {sorted, starts, runs, starts + n + 1};
}

// out = the rows of run k, added one after the other to `before`, or to the first of them where there is none before.
template <class T>
CRISP_INLINE void sum_run(const Runs& runs, int64_t k, int64_t cols, const T* dy, const T* before, T* out) {
  const int32_t* positions = runs.sorted + runs.starts[k];
  const int64_t count = runs.starts[k + 1] - runs.starts[k];
  const T* first = dy + positions[0] * cols;
  if (before) {
#pragma omp simd
    for (int64_t c = 0; c < cols; ++c) out[c] = before[c] + first[c];
  } else {
    for (int64_t c = 0; c < cols; ++c) out[c] = first[c];
  }
  for (int64_t i = 1; i < count; ++i) {
    const T* row = dy + positions[i] * cols;
#pragma omp simd
    for (int64_t c = 0; c < cols; ++c) out[c] += row[c];
  }
}

template <class T>
void scatter_rows(int64_t n, int64_t rows, int64_t cols, const int32_t* ids, const T* dy, T* dtable, double beta) {
  const bool overwrite = beta == 0;
  const Runs runs = runs_of(n, rows, ids, overwrite ? rows : 0);
  if (!overwrite) {
    for_rows(runs.count, cols, [=](int64_t k) {
      T* out = dtable + ids[runs.sorted[runs.starts[k]]] * cols;
      sum_run(runs, k, cols, dy, out, out);
    });
    return;
  }
  int32_t* const run_of = runs.spare;  // of each table row, or -1
  for (int64_t r = 0; r < rows; ++r) run_of[r] = -1;
  for (int64_t k = 0; k < runs.count; ++k) run_of[ids[runs.sorted[runs.starts[k]]]] = static_cast<int32_t>(k);
  for_rows(rows, cols, [=](int64_t r) {
    T* out = dtable + r * cols;
    if (run_of[r] < 0) {
      for (int64_t c = 0; c < cols; ++c) out[c] = 0;
    } else {
      sum_run<T>(runs, run_of[r], cols, dy, nullptr, out);
    }
  });
}

template <class T>
int64_t accumulate_rows(int64_t n, int64_t rows, int64_t cols, const int32_t* ids, const T* dy, int64_t old_n,
                        const int32_t* old_ids, const T* old_values, int32_t* out_ids, T* out_values) {
  // For each row of the result its run and its old row, or -1.
  const Runs runs = runs_of(n, rows, ids, 2 * (n + old_n));
  int32_t* const run_of = runs.spare;
  int32_t* const old_of = run_of + n + old_n;
  int64_t k = 0, old = 0, count = 0;
  while (k < runs.count || old < old_n) {
    const int64_t id = k < runs.count ? ids[runs.sorted[runs.starts[k]]] : rows;
    const int64_t old_id = old < old_n ? old_ids[old] : rows;
    run_of[count] = id <= old_id ? static_cast<int32_t>(k++) : -1;
    old_of[count] = old_id <= id ? static_cast<int32_t>(old++) : -1;
    out_ids[count++] = static_cast<int32_t>(min_of(id, old_id));
  }
  for_rows(count, cols, [=](int64_t r) {
    T* out = out_values + r * cols;
    const T* before = old_of[r] < 0 ? nullptr : old_values + old_of[r] * cols;
    if (run_of[r] >= 0) {
      sum_run(runs, run_of[r], cols, dy, before, out);
    } else {
      for (int64_t c = 0; c < cols; ++c) out[c] = before[c];
    }
  });
  return count;
}

}  // namespace

template <class T>
void fill_rows(Kernels<T>& table) {
  table.gather_rows = gather_rows<T>;
  table.scatter_rows = scatter_rows<T>;
  table.accumulate_rows = accumulate_rows<T>;
}
template void fill_rows(Kernels<float>&);
template void fill_rows(Kernels<double>&);

}  // namespace crisp::CRISP_ISA
