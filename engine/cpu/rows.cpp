// Rows of tables: looked up for the forward pass of embeddings, summed for the backward pass.
#include "engine/cpu/loops.h"
#include "engine/cpu/simd/math.h"

namespace crisp::CRISP_ISA {
namespace {

template <class T>
void gather_rows(int64_t n, int64_t cols, const int32_t* ids, const T* table, T* out, double beta) {
  for_rows(n, cols, [=](int64_t i) {
    const T* from = table + ids[i] * cols;
    put(0, cols, out + i * cols, beta, [=](int64_t c) CRISP_INLINED { return from[c]; });
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

void fill_rows(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) {
    table.gather_rows = gather_rows<T>;
    table.sum_rows = sum_rows<T>;
  });
}

}  // namespace crisp::CRISP_ISA
