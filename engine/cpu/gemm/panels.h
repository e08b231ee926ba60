// The matrix product on panels, for machines with vector registers of 32 or 64 bytes; gemm.cpp and bf16.cpp make
// kernels of it. Goto & van de Geijn, "Anatomy of high-performance matrix multiplication" (ACM TOMS 34(3), 2008), with
// the choices that measured best for some hundred rows of activations and weights of 768 or 3072 columns, which
// engine/cpu/README.md explains. Tiles of c stay in registers over a block of k. They have at most `tile_rows` rows:
// more rows of a, at a stride of 12 KB, would fall out of the first-level cache.
#pragma once

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/gemm/squares.h"
#include "engine/cpu/gemm/streaming.h"
#include "engine/cpu/gemm/work_queue.h"
#include "engine/cpu/simd/math.h"
#include "engine/cpu/simd/simd.h"

namespace crisp::CRISP_ISA {

#if defined(__AVX512F__)
constexpr int tile_rows = 8, tile_vectors = 3;
constexpr int64_t pack_ahead = INT64_MAX / 2;  // steps of k between a row of a and the one asked for while it is packed
#else
constexpr int tile_rows = 4, tile_vectors = 3;
constexpr int64_t pack_ahead = 4;
#endif

// Kind says how numbers are multiplied: gemm.cpp and bf16.cpp have one each, which explain what one consists of.
template <class Kind>
class PanelProduct {
  using T = typename Kind::Value;
  using Word = typename Kind::Word;
  static constexpr int depth = Kind::depth, width = lanes<T>;
  static constexpr int64_t panel_cols = int64_t{tile_vectors} * width;
  static constexpr int64_t block_depth = 768;  // of k
  // Panels side by side that fill whole cache lines, and their columns.
  static constexpr int64_t line_panels = panel_cols * static_cast<int64_t>(sizeof(T)) % 64 == 0 ? 1 : 2;
  static constexpr int64_t line_cols = line_panels * panel_cols;

 public:
  explicit PanelProduct(const GemmCall<T>& call)
      : g(call),
        panels(divide_up(g.n, panel_cols)),
        chunks(divide_up(g.m, g.trans_a ? 96 : 256)),
        groups(g.trans_a ? divide_up(panels, 8) : panels),
        blocks(max_of(1, divide_up(g.k, block_depth))),
        block(divide_up(divide_up(g.k, blocks), depth) * depth),
        steps(block / depth),
        streaming(streams(g, vector_bytes)) {}

  // A task is a chunk of rows and a group of panels, cut by the sizes alone. Either the rows are shared and a thread
  // packs its panels, or (a transposed) the panels are shared and it packs its rows.
  void run() {
    const int threads = num_threads();
    const int64_t tasks = chunks * groups, panel_words = steps * panel_cols;
    const bool convert = !g.trans_a && !Kind::in_place;
    const int64_t shared_words = rounded(g.trans_a ? panels * panel_words : convert ? g.m * steps * blocks : 0);
    const int64_t own_words = rounded(g.trans_a ? divide_up(g.m, chunks) * steps : panel_words);
    const size_t squares_bytes = g.sum_squares ? static_cast<size_t>(rounded(tasks)) * sizeof(double) : 0;
    const size_t queue_bytes = static_cast<size_t>(threads) * sizeof(WorkQueue::Part);
    auto* memory = static_cast<char*>(thread_workspace(
        queue_bytes + squares_bytes + static_cast<size_t>(shared_words + own_words * threads) * sizeof(Word)));
    squares = g.sum_squares ? reinterpret_cast<double*>(memory + queue_bytes) : nullptr;
    shared = reinterpret_cast<Word*>(memory + queue_bytes + squares_bytes);
    Word* const own_memory = shared + shared_words;
    const bool parallel = tasks > 1 && g.m * g.n * g.k > 100'000;
    WorkQueue queue(reinterpret_cast<WorkQueue::Part*>(memory), parallel ? threads : 1);
    queue.fill(tasks);
    on_team(parallel ? threads : 1, [&](const Team& team) {
      const int me = team.rank;
      Word* const own = own_memory + me * own_words;
      if (g.trans_a) {
        for (int64_t k = 0; k < blocks; ++k) {
          for (int64_t p = team.begin(panels); p < team.end(panels); ++p) pack_panel(p, k, shared + p * panel_words);
          team.barrier();
          run_by_rows(queue, me, k, own);
          if (k + 1 < blocks) {
            team.barrier();
            if (me == 0) queue.fill(tasks);
          }
        }
      } else {
        if (convert) {
          convert_rows(team.begin(g.m), team.end(g.m));
          team.barrier();
        }
        run_by_panels(queue, me, own);
      }
      if (streaming) end_streaming();
    });
    if (g.sum_squares) {
      *g.sum_squares = 0;
      for (int64_t t = 0; t < tasks; ++t) *g.sum_squares += squares[t];
    }
  }

 private:
  CRISP_INLINE static int64_t rounded(int64_t words) { return divide_up(words, 16) * 16; }

  struct Rows {
    int64_t begin, count;
  };
  CRISP_INLINE Rows rows_of_chunk(int64_t chunk) const {
    const int64_t begin = g.m * chunk / chunks;
    return {begin, g.m * (chunk + 1) / chunks - begin};
  }
  CRISP_INLINE int64_t depth_of(int64_t k) const { return min_of(block, g.k - k * block); }

  // f(row, height) for tiles of nearly equal height.
  template <class F>
  CRISP_INLINE void for_tiles(Rows rows, F f) const {
    const int64_t tiles = divide_up(rows.count, tile_rows);
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t begin = rows.count * t / tiles;
      f(rows.begin + begin, rows.count * (t + 1) / tiles - begin);
    }
  }

  // Rows of a as words, row-major by blocks of k: row r of block k is at shared + (k * m + r) * steps.
  void convert_rows(int64_t first, int64_t last) {
    for (int64_t k = 0; k < blocks; ++k) {
      for (int64_t row = first; row < last; ++row)
        words_along_k(g.a + row * g.lda + k * block, depth_of(k), shared + (k * g.m + row) * steps);
    }
  }
  void words_along_k(const T* from, int64_t count, Word* out) const {
    int64_t p = 0;
    for (; p + depth * lanes<Word> <= count; p += depth * lanes<Word>) store(out + p / depth, Kind::along_k(from + p));
    for (; p < count; p += depth) out[p / depth] = Kind::word_along_k(from + p, count - p);
  }

  // Rows of a transposed a, interleaved by tiles: [step][row of the tile], so that what a step needs lies together. The
  // tile of row r is at out + (r - rows.begin) * steps.
  void pack_rows(Rows rows, int64_t k, Word* out) const {
    const int64_t count = depth_of(k);
    const T* from = g.a + k * block * g.lda;
    for (int64_t p = 0; p < count; p += depth, from += depth * g.lda) {
      if (p + pack_ahead < count) {
        const auto next = reinterpret_cast<const char*>(from + pack_ahead * g.lda + rows.begin);
        for (int64_t byte = 0; byte < rows.count * static_cast<int64_t>(sizeof(T)); byte += 64)
          __builtin_prefetch(next + byte);
      }
      for_tiles(rows, [&](int64_t row, int64_t height) {
        Word* to = out + (row - rows.begin) * steps + p / depth * height;
        if (height == tile_rows && p + depth <= count) {
          Kind::template copy_across_k<tile_rows>(from + row, g.lda, to);
        } else {
          for (int64_t i = 0; i < height; ++i) to[i] = Kind::word_across_k(from + row + i, g.lda, count - p);
        }
      });
    }
  }

  // [step][panel_cols]; columns beyond n are 0.
  void pack_panel(int64_t panel, int64_t k, Word* out) const {
    const int64_t col = panel * panel_cols, cols = min_of(panel_cols, g.n - col), count = depth_of(k);
    if (g.trans_b) {
      const T* from = g.b + col * g.ldb + k * block;
      int64_t p = 0;
      if (cols == panel_cols) {
        for (; p + depth * lanes<Word> <= count; p += depth * lanes<Word>) {
          for (int64_t j = 0; j < panel_cols; j += lanes<Word>) {
            Vec<Word> rows[lanes<Word>];
#pragma GCC unroll 16
            for (int i = 0; i < lanes<Word>; ++i) rows[i] = Kind::along_k(from + (j + i) * g.ldb + p);
            transpose_square<Word>(rows);
#pragma GCC unroll 16
            for (int i = 0; i < lanes<Word>; ++i) store(out + (p / depth + i) * panel_cols + j, rows[i]);
          }
        }
      }
      for (; p < count; p += depth) {
        Word* to = out + p / depth * panel_cols;
        for (int64_t j = 0; j < cols; ++j) to[j] = Kind::word_along_k(from + j * g.ldb + p, count - p);
        for (int64_t j = cols; j < panel_cols; ++j) to[j] = 0;
      }
      return;
    }
    const T* from = g.b + k * block * g.ldb + col;
    for (int64_t p = 0; p < count; p += depth, from += depth * g.ldb, out += panel_cols) {
      if (cols == panel_cols && p + depth <= count) {
#pragma GCC unroll 3
        for (int v = 0; v < tile_vectors; ++v) store(out + v * width, Kind::across_k(from + v * width, g.ldb));
      } else {
        for (int64_t j = 0; j < cols; ++j) out[j] = Kind::word_across_k(from + j, g.ldb, count - p);
        for (int64_t j = cols; j < panel_cols; ++j) out[j] = 0;
      }
    }
  }

  // Asks for the lines of b that a panel needs, a few at a time, while another one is being used.
  struct Prefetch {
    const T* from = nullptr;
    int64_t rows = 0, row_stride = 0, row_bytes = 0;
    int64_t row = 0, byte = 0;
    CRISP_INLINE void lines(int64_t count) {
      while (count-- > 0 && row < rows) {
        __builtin_prefetch(reinterpret_cast<const char*>(from + row * row_stride) + byte, 0, 2);
        byte += 64;
        if (byte >= row_bytes) {
          byte = 0;
          ++row;
        }
      }
    }
  };
  CRISP_INLINE Prefetch prefetch_of(int64_t panel, int64_t k) const {
    const int64_t col = panel * panel_cols, cols = min_of(panel_cols, g.n - col), count = depth_of(k);
    if (g.trans_b) return {g.b + col * g.ldb + k * block, cols, g.ldb, count * static_cast<int64_t>(sizeof(T))};
    return {g.b + k * block * g.ldb + col, count, g.ldb, cols * static_cast<int64_t>(sizeof(T))};
  }

  // Tasks in the order (panel, chunk), each over all blocks of k. A thread takes all chunks of a panel, but of its last
  // one only a chunk at a time, which leaves some for others.
  void run_by_panels(WorkQueue& queue, int me, Word* panel_memory) const {
    int64_t first = 0, last = 0, packed = -1;
    const auto wanted = [this](int64_t from, int64_t end) {
      return end - from > chunks ? (from / chunks + 1) * chunks - from : 1;
    };
    while (queue.take(me, wanted, first, last)) {
      const int64_t panel = first / chunks;
      for (int64_t k = 0; k < blocks; ++k) {
        if (blocks > 1 || panel != packed) pack_panel(panel, k, panel_memory);
        packed = panel;
        Prefetch next;
        if (k + 1 < blocks) {
          next = prefetch_of(panel, k + 1);
        } else if (panel + 1 < panels) {
          next = prefetch_of(panel + 1, 0);
        }
        const int64_t tiles = (last - first) * divide_up(divide_up(g.m, chunks), tile_rows);
        const int64_t lines = divide_up(next.rows * divide_up(next.row_bytes, 64), max_of(1, tiles));
        for (int64_t task = first; task < last; ++task) {
          double sum = 0;
          for_tiles(rows_of_chunk(task % chunks), [&](int64_t row, int64_t height) {
            next.lines(lines);
            Tile tile{row, panel, k, nullptr, 0, panel_memory, nullptr};
            if constexpr (Kind::in_place) {
              tile.a = g.a + row * g.lda + k * block;
              tile.stride = g.lda;
            } else {
              tile.a = shared + (k * g.m + row) * steps;
              tile.stride = steps;
            }
            with_height<tile_rows, false>(height, tile, sum);
          });
          if (squares && k + 1 == blocks) squares[task] = sum;
        }
      }
    }
  }

  // Tasks in the order (chunk, group of panels), for one block of k.
  void run_by_rows(WorkQueue& queue, int me, int64_t k, Word* row_memory) const {
    int64_t task = 0, end = 0, packed = -1;
    while (queue.take(
        me, [](int64_t, int64_t) { return 1; }, task, end)) {
      const int64_t chunk = task / groups, group = task % groups;
      const Rows rows = rows_of_chunk(chunk);
      if (chunk != packed) pack_rows(rows, k, row_memory);
      packed = chunk;
      const int64_t last = panels * (group + 1) / groups;
      double sum = 0;
      for (int64_t first = panels * group / groups; first < last; first += line_panels) {
        // Half a line written past the caches costs memory two writes: sums wait until they fill lines.
        alignas(64) T lines[line_panels > 1 ? tile_rows * line_cols : 1];
        const bool gather = line_panels > 1 && streaming && blocks == 1 && g.beta == 0 && !g.gelu_out &&
                            first + line_panels <= last && (first + line_panels) * panel_cols <= g.n;
        for_tiles(rows, [&](int64_t row, int64_t height) {
          const Word* a = row_memory + (row - rows.begin) * steps;
          for (int64_t panel = first; panel < min_of(last, first + line_panels); ++panel) {
            T* const gathered = gather ? lines + (panel - first) * panel_cols : nullptr;
            with_height<tile_rows, true>(height, {row, panel, k, a, 0, shared + panel * steps * panel_cols, gathered},
                                         sum);
          }
          if (gather) stream_rows(lines, height, g.c + row * g.ldc + first * panel_cols);
        });
      }
      if (squares && k + 1 == blocks) squares[task] = sum;
    }
  }

  void stream_rows(const T* lines, int64_t rows, T* c) const {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < line_cols; j += width)
        store_streaming(c + i * g.ldc + j, load(lines + i * line_cols + j));
  }

  struct Tile {
    int64_t row, panel, k;
    const Word* a;
    int64_t stride;  // between rows of a, in words, where they are not interleaved
    const Word* b;
    T* gathered;  // null, or where finished sums go instead of c, in rows of line_cols
  };

  template <int rows, bool interleaved>
  CRISP_INLINE void with_height(int64_t height, const Tile& t, double& sum) const {
    if (height == rows) {
      tile<rows, interleaved>(t, sum);
    } else if constexpr (rows > 1) {
      with_height<rows - 1, interleaved>(height, t, sum);
    }
  }

  // Of a word that may lie past the end of a, where no pointer may point: only for asking for its line.
  CRISP_INLINE static const void* address(const Word* a, int64_t offset) {
    return reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(a) +
                                         static_cast<uintptr_t>(offset) * sizeof(Word));
  }

  template <int rows, bool interleaved>
  [[gnu::noinline]] void tile(const Tile& t, double& sum) const {
    const int64_t row = t.row, k = t.k, stride = t.stride;
    const Word *const a = t.a, *const b = t.b;
    Vec<T> sums[rows][tile_vectors] = {};
    const int64_t count = divide_up(depth_of(k), depth);
    constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(Word));  // words of a cache line
    for (int64_t p0 = 0; p0 < count; p0 += line) {
      // The next tile's rows: its lines arrive while this one is computed.
      if constexpr (!interleaved) {
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i) __builtin_prefetch(address(a, (rows + i) * stride + p0));
      }
      const int64_t p1 = min_of(count, p0 + line);
      for (int64_t p = p0; p < p1; ++p) {
        Vec<Word> bv[tile_vectors];
#pragma GCC unroll 3
        for (int v = 0; v < tile_vectors; ++v) bv[v] = load(b + p * panel_cols + v * width);
#pragma GCC unroll 8
        for (int i = 0; i < rows; ++i) {
          const Word ai = interleaved ? a[p * rows + i] : a[i * stride + p];
#pragma GCC unroll 3
          for (int v = 0; v < tile_vectors; ++v) sums[i][v] = Kind::multiply_add(ai, bv[v], sums[i][v]);
        }
      }
    }
    const int64_t col = t.panel * panel_cols, cols = min_of(panel_cols, g.n - col);
    const bool add = k > 0 || g.beta != 0, last = k + 1 == blocks;
    if (cols == panel_cols) {
      const bool stream = streaming && last && !add;
      Vec<double> of_tile{};
#pragma GCC unroll 8
      for (int i = 0; i < rows; ++i) {
        T* c = g.c + (row + i) * g.ldc + col;
#pragma GCC unroll 3
        for (int v = 0; v < tile_vectors; ++v) {
          Vec<T> x = sums[i][v];
          if (add) x += load(c + v * width);
          if (last && g.bias) x += load(g.bias + col + v * width);
          if (squares && last) of_tile = add_squares(of_tile, x);
          if (interleaved && t.gathered) {
            store(t.gathered + i * line_cols + v * width, x);
          } else if (stream) {
            store_streaming(c + v * width, x);
          } else {
            store(c + v * width, x);
          }
        }
      }
      sum += lane_sum(of_tile);
    } else {
      T x[rows][panel_cols];
#pragma GCC unroll 8
      for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 3
        for (int v = 0; v < tile_vectors; ++v) store(x[i] + v * width, sums[i][v]);
      }
      for (int i = 0; i < rows; ++i) {
        T* c = g.c + (row + i) * g.ldc + col;
        for (int64_t j = 0; j < cols; ++j) {
          if (add) x[i][j] += c[j];
          c[j] = last && g.bias ? x[i][j] + g.bias[col + j] : x[i][j];
          if (last) sum += static_cast<double>(c[j]) * static_cast<double>(c[j]);
        }
      }
    }
    if (last && g.gelu_out) activate(rows, row, col, cols);
  }

  // While the finished tile of c is in the first-level cache; not inlined, as there are many tile().
  [[gnu::noinline]] void activate(int rows, int64_t row, int64_t col, int64_t cols) const {
    for (int i = 0; i < rows; ++i) {
      const T* x = g.c + (row + i) * g.ldc + col;
      T* y = g.gelu_out + (row + i) * g.ldc + col;
#pragma omp simd
      for (int64_t j = 0; j < cols; ++j) y[j] = formulas::Gelu<T, Math>::value(x[j]);
    }
  }

  const GemmCall<T> g;
  const int64_t panels, chunks, groups, blocks;
  const int64_t block, steps;  // elements and words of a whole block along k
  const bool streaming;        // c is a weight's gradient: nobody reads it before the optimizer
  double* squares = nullptr;   // of each task
  Word* shared = nullptr;
};

/// One product, with its leading dimensions.
template <class Kind>
void gemm_panels(const GemmCall<typename Kind::Value>& g) {
  PanelProduct<Kind>(g).run();
}

}  // namespace crisp::CRISP_ISA
