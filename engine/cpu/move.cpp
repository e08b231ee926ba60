// Kernels that move elements or set them: strided blocks and transposition, filling, clamping, rows of tables.
#include "engine/cpu/cpu_kernels.h"

namespace crisp::CRISP_ISA {
namespace {

template <class T>
void copy_2d(int64_t rows, int64_t cols, const T* x, int64_t x_stride, T* out, int64_t out_stride, double beta) {
  for_row_chunks(rows, cols, [=](int64_t r, int64_t begin, int64_t end) {
    const T* from = x + r * x_stride;
    T* to = out + r * out_stride;
    put(begin, end, to, beta, [=](int64_t i) CRISP_INLINED { return from[i]; });
  });
}

constexpr int64_t tile = 32;  // reads and writes of a tile stay within the first-level cache

template <class T>
void transpose(int64_t batch, int64_t rows, int64_t cols, const T* x, T* out, double beta) {
  const int64_t down = divide_up(rows, tile);
  for_rows(batch * down, tile * cols, [=](int64_t task) {
    const int64_t b = task / down, r0 = task % down * tile, r1 = min_of(rows, r0 + tile);
    const T* from = x + b * rows * cols;
    T* to = out + b * rows * cols;
    for (int64_t c0 = 0; c0 < cols; c0 += tile) {
      const int64_t c1 = min_of(cols, c0 + tile);
      for (int64_t c = c0; c < c1; ++c) {
        if (beta == 0) {
          for (int64_t r = r0; r < r1; ++r) to[c * rows + r] = from[r * cols + c];
        } else {
          for (int64_t r = r0; r < r1; ++r) to[c * rows + r] += from[r * cols + c];
        }
      }
    }
  });
}

template <class T>
void fill(int64_t n, double value, T* x) {
  const T v = static_cast<T>(value);
  for_elements(n, [=](int64_t i) CRISP_INLINED { x[i] = v; });
}

template <class T>
void clamp(int64_t n, double low, double high, T* x, const ClipResult* clip) {
  if (clip && clip->is_finite == 0) return;
  const T least = static_cast<T>(low), most = static_cast<T>(high);
  for_elements(n, [=](int64_t i) CRISP_INLINED { x[i] = x[i] < least ? least : x[i] > most ? most : x[i]; });
}

// --- rows of tables: looked up for the forward pass of embeddings, summed for the backward pass ----------------------

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

void fill_move(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) {
    table.fill = fill<T>;
    table.clamp = clamp<T>;
    table.copy_2d = copy_2d<T>;
    table.transpose = transpose<T>;
    table.gather_rows = gather_rows<T>;
    table.sum_rows = sum_rows<T>;
  });
}

}  // namespace crisp::CRISP_ISA
