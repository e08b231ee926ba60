// Kernels that move elements or set them: strided blocks and transposition, filling, clamping.
#include "engine/cpu/loops.h"

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
void clamp(int64_t n, double low, double high, T* x) {
  const T least = static_cast<T>(low), most = static_cast<T>(high);
  for_elements(n, [=](int64_t i) CRISP_INLINED { x[i] = x[i] < least ? least : x[i] > most ? most : x[i]; });
}

}  // namespace

void fill_move(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) {
    table.fill = fill<T>;
    table.clamp = clamp<T>;
    table.copy_2d = copy_2d<T>;
    table.transpose = transpose<T>;
  });
}

}  // namespace crisp::CRISP_ISA
