// Products of small matrices for attention: no packing of the left operand, tiles of the result in registers. Each
// element is one chain of multiply-adds over the depth, so its bits do not depend on where a tile begins.
#pragma once

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/simd/simd.h"

namespace crisp::CRISP_ISA {

/// A matrix in place: element (i, j) at data[i * row + j * step].
template <class T>
struct MatrixView {
  const T* data;
  int64_t row, step;
};

namespace detail {

// Registers: 32 of AVX-512 hold 6 x 4 or 8 x 2 accumulators, 16 of the others 6 x 2.
constexpr int most_vectors = vector_bytes == 64 ? 4 : 2;
constexpr int most_rows(int vectors) { return vector_bytes == 64 && vectors <= 2 ? 8 : 6; }

// Partial: the one vector of columns has `width` of them.
template <class T, int Rows, int Vectors, bool Partial>
void product_tile(int64_t depth, MatrixView<T> a, const T* b, int64_t b_row, T* c, int64_t c_row, int64_t width,
                  bool add) {
  Vec<T> sum[Rows][Vectors] = {};
  for (int64_t t = 0; t < depth; ++t) {
    Vec<T> right[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) right[v] = load_part<Partial>(b + t * b_row + v * lanes<T>, width);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Vec<T> left = broadcast(a.data[r * a.row + t * a.step]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[r][v] += left * right[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      T* out = c + r * c_row + v * lanes<T>;
      store_part<Partial>(out, add ? load_part<Partial>(out, width) + sum[r][v] : sum[r][v], width);
    }
  }
}

template <class T, int Vectors, bool Partial, int Rows = most_rows(Vectors)>
CRISP_INLINE void product_rows(int64_t rows, int64_t depth, MatrixView<T> a, const T* b, int64_t b_row, T* c,
                               int64_t c_row, int64_t width, bool add) {
  if (rows == Rows) {
    product_tile<T, Rows, Vectors, Partial>(depth, a, b, b_row, c, c_row, width, add);
  } else if constexpr (Rows > 1) {
    product_rows<T, Vectors, Partial, Rows - 1>(rows, depth, a, b, b_row, c, c_row, width, add);
  }
}

// One group of columns: the rows are spread evenly over the tiles.
template <class T, int Vectors, bool Partial>
void product_columns(int64_t rows, int64_t depth, MatrixView<T> a, const T* b, int64_t b_row, T* c, int64_t c_row,
                     int64_t width, bool add) {
  const int64_t tiles = divide_up(rows, most_rows(Vectors));
  for (int64_t tile = 0, done = 0; tile < tiles; ++tile) {
    const int64_t count = (rows - done + tiles - tile - 1) / (tiles - tile);
    const MatrixView<T> part{a.data + done * a.row, a.row, a.step};
    product_rows<T, Vectors, Partial>(count, depth, part, b, b_row, c + done * c_row, c_row, width, add);
    done += count;
  }
}

}  // namespace detail

/// c = a b, or c += a b with `add`: a is [rows, depth], b [depth, cols] with rows b_row apart, c [rows, cols].
template <class T>
void small_product(int64_t rows, int64_t cols, int64_t depth, MatrixView<T> a, const T* b, int64_t b_row, T* c,
                   int64_t c_row, bool add) {
  constexpr int64_t width = lanes<T>;
  int64_t col = 0;
  for (; cols - col >= detail::most_vectors * width; col += detail::most_vectors * width)
    detail::product_columns<T, detail::most_vectors, false>(rows, depth, a, b + col, b_row, c + col, c_row, 0, add);
  if (detail::most_vectors > 2 && cols - col >= 2 * width) {
    detail::product_columns<T, 2, false>(rows, depth, a, b + col, b_row, c + col, c_row, 0, add);
    col += 2 * width;
  }
  if (cols - col >= width) {
    detail::product_columns<T, 1, false>(rows, depth, a, b + col, b_row, c + col, c_row, 0, add);
    col += width;
  }
  if (cols > col) detail::product_columns<T, 1, true>(rows, depth, a, b + col, b_row, c + col, c_row, cols - col, add);
}

/// out[j][i] = x[i][j] for x [rows, cols] with rows x_row apart; rows of out are out_row apart, at least `rows` rounded
/// up to whole vectors: the columns from `rows` up to there become 0.
template <class T>
void transpose_padded(int64_t rows, int64_t cols, const T* x, int64_t x_row, T* out, int64_t out_row) {
  constexpr int64_t width = lanes<T>;
  for (int64_t i = 0; i < rows; i += width) {
    const int64_t height = min_of(width, rows - i);
    int64_t j = 0;
    for (; j + width <= cols; j += width) {
      Vec<T> square[width];
#pragma GCC unroll 16
      for (int64_t r = 0; r < width; ++r) {
        square[r] = r < height ? load(x + (i + r) * x_row + j) : Vec<T>{};
        __builtin_prefetch(x + min_of(i + r + width, rows - 1) * x_row + j);  // the rows that come next
      }
      transpose_square<T>(square);
#pragma GCC unroll 16
      for (int64_t r = 0; r < width; ++r) store(out + (j + r) * out_row + i, square[r]);
    }
    for (; j < cols; ++j)
      for (int64_t r = 0; r < width; ++r) out[j * out_row + i + r] = r < height ? x[(i + r) * x_row + j] : T(0);
  }
}

}  // namespace crisp::CRISP_ISA
