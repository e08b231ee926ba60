// The matrix product on a unit that multiplies tiles of bf16 pairs and adds f32 (AMX), in the modes bf16 (one part),
// bf16x3 (two) and bf16x6 (three): engine/cpu/README.md explains it. The unit is a template parameter, so that the
// tests can run all of this on an emulated one.
//
// A unit has eight tiles of 16 rows of 64 bytes and these static functions:
//   begin(), end()          around all others, in each thread
//   zero<t>()               t = 0
//   load<t>(p)              t = the 1 KB at p
//   store<t>(p, stride)     rows of t to p, p + stride, ... (16 floats each)
//   multiply<t, a, b>()     t += a b: TDPBF16PS t, a, b
#pragma once

#include "engine/cpu/gemm/batch.h"
#include "engine/cpu/gemm/bf16_pack.h"
#include "engine/cpu/gemm/streaming.h"
#include "engine/cpu/threads/team.h"

namespace crisp::CRISP_ISA {

/// Packed columns of b that a thread keeps in its share of the second-level cache (2 MB on CPUs with AMX), in bytes.
constexpr int64_t b_cache = int64_t{768} << 10;
/// Rows of a that are packed at a time.
constexpr int64_t max_strip = 4096;
/// Numbers along k that are packed at a time.
constexpr int64_t max_depth(int parts) { return parts == 3 ? 384 : 768; }

// Tiles 0 to 3 hold the block of c, 4 and 5 the left operand, 6 and 7 the right one. Each load stands as late as it
// can: the unit multiplies meanwhile.
template <class Unit>
CRISP_INLINE void multiply_new_both(const uint32_t* a, const uint32_t* b) {
  Unit::template load<4>(a);
  Unit::template load<6>(b);
  Unit::template multiply<0, 4, 6>();
  Unit::template load<7>(b + tile_dwords);
  Unit::template multiply<1, 4, 7>();
  Unit::template load<5>(a + tile_dwords);
  Unit::template multiply<2, 5, 6>();
  Unit::template multiply<3, 5, 7>();
}
template <class Unit>
CRISP_INLINE void multiply_new_left(const uint32_t* a) {
  Unit::template load<4>(a);
  Unit::template multiply<0, 4, 6>();
  Unit::template multiply<1, 4, 7>();
  Unit::template load<5>(a + tile_dwords);
  Unit::template multiply<2, 5, 6>();
  Unit::template multiply<3, 5, 7>();
}
template <class Unit>
CRISP_INLINE void multiply_new_right(const uint32_t* b) {
  Unit::template load<6>(b);
  Unit::template multiply<0, 4, 6>();
  Unit::template multiply<2, 5, 6>();
  Unit::template load<7>(b + tile_dwords);
  Unit::template multiply<1, 4, 7>();
  Unit::template multiply<3, 5, 7>();
}

/// Tiles 0 to 3 = the product of two packed blocks. Of the products of parts, those that matter are formed: parts i and
/// j (from 0) with i + j < Parts. Their order changes one operand at a time: 4, 8 and 14 loads for 4, 12 and 24
/// products.
template <class Unit, int Parts>
CRISP_INLINE void multiply_blocks(const uint32_t* a, const uint32_t* b, int64_t steps) {
  constexpr int64_t part = block_dwords;
  Unit::template zero<0>();
  Unit::template zero<1>();
  Unit::template zero<2>();
  Unit::template zero<3>();
  for (const uint32_t* const end = a + steps * Parts * part; a != end; a += Parts * part, b += Parts * part) {
    if constexpr (Parts == 1) {
      multiply_new_both<Unit>(a, b);
    } else if constexpr (Parts == 2) {
      multiply_new_both<Unit>(a, b + part);  // 0 1
      multiply_new_right<Unit>(b);           // 0 0
      multiply_new_left<Unit>(a + part);     // 1 0
    } else {
      multiply_new_both<Unit>(a, b + 2 * part);  // 0 2
      multiply_new_right<Unit>(b + part);        // 0 1
      multiply_new_left<Unit>(a + part);         // 1 1
      multiply_new_right<Unit>(b);               // 1 0
      multiply_new_left<Unit>(a + 2 * part);     // 2 0
      multiply_new_left<Unit>(a);                // 0 0
    }
  }
}

/// A block of c: its place and what becomes of it. The pointers are null where nothing of the kind is asked for, or not
/// yet.
struct Block {
  float* c;
  int64_t stride, rows, cols;
  bool add;                     // to what is there
  bool stream = false;          // past the caches
  const float* bias = nullptr;  // of its columns
  float* gelu = nullptr;        // where the activation of c goes, with c's stride
  double* squares = nullptr;    // where the sum of its squares goes

  /// Whether it is the tiles as they are.
  CRISP_INLINE bool plain() const {
    return rows == block_size && cols == block_size && !add && !bias && !gelu && !squares;
  }
};

template <class Unit>
CRISP_INLINE void store_tiles(float* to, int64_t stride) {
  Unit::template store<0>(to, stride);
  Unit::template store<1>(to + 16, stride);
  Unit::template store<2>(to + 16 * stride, stride);
  Unit::template store<3>(to + 16 * stride + 16, stride);
}

/// c and its squares, of all columns: the squares are summed in f64, columns first, then across. `product` becomes c.
CRISP_INLINE void finish_rows(const Block& block, float* product) {
  using V8f = float __attribute__((vector_size(32)));
  using V8d = double __attribute__((vector_size(64)));
  V8d columns[4] = {};
  for (int64_t i = 0; i < block.rows; ++i) {
#pragma GCC unroll 2
    for (int64_t half = 0; half < 2; ++half) {
      float* const from = product + i * block_size + 16 * half;
      float* const c = block.c + i * block.stride + 16 * half;
      V16f x, y;
      load(x, from);
      if (block.add) {
        load(y, c);
        x = y + x;
      }
      if (block.bias) {
        load(y, block.bias + 16 * half);
        x += y;
      }
      if (block.squares) {
#pragma GCC unroll 2
        for (int64_t j = 0; j < 2; ++j) {
          const V8d wide = __builtin_convertvector(reinterpret_cast<const V8f*>(&x)[j], V8d);
          columns[2 * half + j] += wide * wide;
        }
      }
      if (block.gelu) store(from, x);
      if (block.stream) {
        store_streaming(c, x);
      } else {
        store(c, x);
      }
    }
  }
  if (!block.squares) return;
  const V8d total = (columns[0] + columns[1]) + (columns[2] + columns[3]);
  double sum = 0;
  for (int64_t j = 0; j < 8; ++j) sum += total[j];
  *block.squares = sum;
}

/// The same where columns are missing.
CRISP_INLINE void finish_elements(const Block& block, float* product) {
  double sum = 0;
  for (int64_t i = 0; i < block.rows; ++i) {
    for (int64_t j = 0; j < block.cols; ++j) {
      float& c = block.c[i * block.stride + j];
      float x = product[i * block_size + j];
      if (block.add) x = c + x;
      if (block.bias) x += block.bias[j];
      const auto wide = static_cast<double>(x);
      sum += wide * wide;
      product[i * block_size + j] = c = x;
    }
  }
  if (block.squares) *block.squares = sum;
}

/// GELU of a finished block, of which `c` is a copy in one piece.
CRISP_INLINE void activate(const Block& block, const float* c) {
  for (int64_t i = 0; i < block.rows; ++i) {
    const float* const x = c + i * block_size;
    float* const y = block.gelu + i * block.stride;
    if (block.cols == block_size) {
#pragma omp simd
      for (int64_t j = 0; j < block_size; ++j) y[j] = formulas::Gelu<float, Math>::value(x[j]);
    } else {
      for (int64_t j = 0; j < block.cols; ++j) y[j] = formulas::Gelu<float, Math>::value(x[j]);
    }
  }
}

template <class Unit, int Parts>
CRISP_INLINE void compute_block(const uint32_t* a, const uint32_t* b, int64_t steps, const Block& block) {
  // c is wanted when the tiles are done; until then it has time to come.
  for (int64_t i = 0; i < (block.stream ? 0 : block.rows); ++i) {
    __builtin_prefetch(block.c + i * block.stride, 1);
    __builtin_prefetch(block.c + i * block.stride + block.cols - 1, 1);
  }
  multiply_blocks<Unit, Parts>(a, b, steps);
  if (block.plain()) {
    store_tiles<Unit>(block.c, block.stride);
    return;
  }
  alignas(64) float product[block_size * block_size];
  store_tiles<Unit>(product, block_size);
  if (block.cols == block_size)
    finish_rows(block, product);
  else
    finish_elements(block, product);
  if (block.gelu) activate(block, product);
}

/// The part of `total` that falls to one of `sharers`.
struct Range {
  int64_t begin, end;
  CRISP_INLINE Range(int64_t total, int64_t sharer, int64_t sharers)
      : begin(total * sharer / sharers), end(total * (sharer + 1) / sharers) {}
};

/// How threads share the blocks of c: a grid. Columns are divided first, as threads with the same columns pack them
/// twice.
CRISP_INLINE int64_t threads_down(int64_t blocks, int64_t panels, int64_t threads) {
  constexpr int64_t packing = 8;  // packing 32 columns takes about as long as this many blocks
  int64_t best = 1, best_cost = INT64_MAX;
  for (int64_t down = 1; down <= threads; ++down) {
    const int64_t cost = divide_up(panels, threads / down) * (divide_up(blocks, down) + packing);
    if (cost < best_cost) {
      best = down;
      best_cost = cost;
    }
  }
  return best;
}

/// One product, with its leading dimensions.
template <class Unit, int Parts>
void gemm_tiles(const GemmCall<float>& g) {
  // Rows in strips, k in chunks, each about equal in size.
  const int64_t strips = divide_up(g.m, max_strip);
  const int64_t strip = divide_up(divide_up(g.m, strips), block_size) * block_size;
  const int64_t chunks = max_of(1, divide_up(g.k, max_depth(Parts)));
  const int64_t chunk = divide_up(divide_up(g.k, chunks), tile_depth) * tile_depth;
  const int64_t panels = divide_up(g.n, block_size), all_blocks = divide_up(g.m, block_size);
  const int64_t packed = chunk / tile_depth * Parts * block_dwords;  // of 32 rows or columns and one chunk, in dwords
  const int64_t cached = min_of(panels, max_of(1, b_cache / max_of(1, packed * 4)));  // panels

  // One piece of scratch memory: a strip of a, columns of b for each thread, and the squares of each block.
  const int64_t a_dwords = strip / block_size * packed, b_dwords = cached * packed;
  const int threads = num_threads();
  const int64_t squares_bytes = g.sum_squares ? all_blocks * panels * 8 : 0;
  auto* const packed_a = static_cast<uint32_t*>(
      thread_workspace(static_cast<size_t>((a_dwords + threads * b_dwords) * 4 + squares_bytes)));
  uint32_t* const packed_b = packed_a + a_dwords;
  auto* const squares = g.sum_squares ? reinterpret_cast<double*>(packed_b + threads * b_dwords) : nullptr;

  const bool streaming = streams(g, sizeof(V16f));

  const Vectors a{g.a, g.lda, !g.trans_a};
  const Vectors b{g.b, g.ldb, g.trans_b};

  on_team(g.m * g.n * g.k >= 16 * parallel_threshold ? threads : 1, [&](const Team& team) {
    Unit::begin();
    const int64_t me = team.rank;
    uint32_t* const my_b = packed_b + me * b_dwords;
    for (int64_t row = 0; row < g.m; row += strip) {
      const int64_t rows = min_of(strip, g.m - row), blocks = divide_up(rows, block_size);
      const int64_t down = threads_down(blocks, panels, team.size), across = team.size / down;
      const bool idle = me >= down * across;
      const Range mine(blocks, me / across, down), columns(panels, me % across, across);
      for (int64_t c = 0; c < chunks; ++c) {
        const int64_t k = c * chunk, depth = min_of(chunk, g.k - k), steps = divide_up(depth, tile_depth);
        for (int64_t i = team.begin(blocks); i < team.end(blocks); ++i)
          pack_block<Parts, Side::left>(a, row + i * block_size, min_of(block_size, rows - i * block_size), k, depth,
                                        packed_a + i * packed, i + 1 < team.end(blocks));
        team.barrier();
        for (int64_t first = idle ? columns.end : columns.begin; first < columns.end; first += cached) {
          for (int64_t i = mine.begin; i < mine.end; ++i) {
            for (int64_t p = first; p < min_of(columns.end, first + cached); ++p) {
              uint32_t* const panel = my_b + (p - first) * packed;
              const int64_t block_row = row + i * block_size, col = p * block_size;
              Block block{.c = g.c + block_row * g.ldc + col,
                          .stride = g.ldc,
                          .rows = min_of(block_size, g.m - block_row),
                          .cols = min_of(block_size, g.n - col),
                          .add = c > 0 || g.beta != 0};
              if (c == chunks - 1) {
                block.stream = streaming && !block.add && block.cols == block_size;
                if (g.bias) block.bias = g.bias + col;
                if (g.gelu_out) block.gelu = g.gelu_out + block_row * g.ldc + col;
                if (squares) block.squares = squares + block_row / block_size * panels + p;
              }
              if (i == mine.begin)
                pack_block<Parts, Side::right>(b, col, block.cols, k, depth, panel, p + 1 < columns.end);
              compute_block<Unit, Parts>(packed_a + i * packed, panel, steps, block);
            }
          }
        }
        team.barrier();  // the next chunk overwrites the packed rows
      }
    }
    if (streaming) end_streaming();
    Unit::end();
  });
  if (!g.sum_squares) return;
  double sum = 0;
  for (int64_t i = 0; i < all_blocks * panels; ++i) sum += squares[i];
  *g.sum_squares = sum;
}

/// In as many parts as the call's precision splits an operand into.
template <class Unit>
CRISP_INLINE void gemm_tiles(const GemmCall<float>& call) {
  for_products(call, [](const GemmCall<float>& g) {
    if (g.precision == MatmulPrecision::bf16x6) return gemm_tiles<Unit, 3>(g);
    if (g.precision == MatmulPrecision::bf16x3) return gemm_tiles<Unit, 2>(g);
    gemm_tiles<Unit, 1>(g);
  });
}

}  // namespace crisp::CRISP_ISA
