// Rows of tables: looked up for the forward pass of embeddings, summed for the backward pass.
#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/loops.h"
#include "engine/cpu/simd/math.h"

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

// out = the rows of x at `positions`, added one after the other to `before`, or to the first of them where there is
// none before.
template <class T>
CRISP_INLINE void sum_of(const int32_t* positions, int64_t count, int64_t cols, const T* x, const T* before, T* out) {
  int64_t i = 0;
  if (!before) {
    const T* first = count > 0 ? x + positions[i++] * cols : nullptr;
    for (int64_t c = 0; c < cols; ++c) out[c] = first ? first[c] : T(0);
  } else if (before != out) {
    for (int64_t c = 0; c < cols; ++c) out[c] = before[c];
  }
  for (; i < count; ++i) {
    const T* row = x + positions[i] * cols;
#pragma omp simd
    for (int64_t c = 0; c < cols; ++c) out[c] += row[c];
  }
}

template <class T>
void sum_rows(const SumRowsCall<T>& call) {
  for_rows(call.count, call.cols, [=](int64_t i) {
    T* out = call.out + (call.to ? call.to[i] : i) * call.cols;
    const T* before = call.beta != 0 ? out : nullptr;
    if (call.old_of) before = call.old_of[i] < 0 ? nullptr : call.old + call.old_of[i] * call.cols;
    const int32_t begin = call.starts[i];
    sum_of(call.order + begin, call.starts[i + 1] - begin, call.cols, call.x, before, out);
  });
}

}  // namespace

template <class T>
void fill_rows(Kernels<T>& table) {
  table.gather_rows = gather_rows<T>;
  table.sum_rows = sum_rows<T>;
}
template void fill_rows(Kernels<float>&);
template void fill_rows(Kernels<double>&);

}  // namespace crisp::CRISP_ISA
