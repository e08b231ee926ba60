// What attention's kernels share: where the parts of a (sequence, head) lie, and the two products that a block of
// threads forms for a few queries at a time: of their rows with all keys, and the weighted sums of all keys' rows.
//
// A warp works on rows of its own, and the element of key j in such a row belongs to lane j % 32 from the first product
// to the last, so that only the tiles in shared memory need barriers.
#pragma once

#include <bit>
#include <limits>
#include <type_traits>

#include "engine/cuda/kernels.cuh"

namespace crisp::CRISP_CUDA_NAMESPACE {

constexpr int attention_warps = 8, attention_threads = 32 * attention_warps;
constexpr int warp_rows = 2;  // that a warp works on at a time: its number, and 8 more
constexpr int tile_rows = attention_warps * warp_rows;
constexpr int tile_keys = 64, tile_cols = 32;

/// One (sequence, head): where its parts lie.
struct AttentionBlock {
  int n_q, n_k;
  int64_t q, k, out;     // offset of its first query's, key's and result's slice
  int64_t weights;       // offset of its weights
  int64_t rows;          // and of what there is for each of its queries
  int64_t q_row, k_row;  // from such a slice to the next: of queries, of keys and values
  int64_t dim;           // and of results
  int64_t first_query;   // the row of q that its first query is
  int head;
};

__device__ __forceinline__ AttentionBlock attention_block(const AttentionShape& s, int64_t index) {
  const auto [sequence, head] = cell_of(index, s.heads);
  const int64_t dim = s.heads * s.head_dim, q = s.q_offsets[sequence], k = s.kv_offsets[sequence];
  const int64_t q_row = s.q_row > 0 ? s.q_row : dim, k_row = s.kv_row > 0 ? s.kv_row : dim;
  const int64_t n_q = s.q_offsets[sequence + 1] - q, n_k = s.kv_offsets[sequence + 1] - k;
  return {.n_q = static_cast<int>(n_q),
          .n_k = static_cast<int>(n_k),
          .q = q * q_row + head * s.head_dim,
          .k = k * k_row + head * s.head_dim,
          .out = q * dim + head * s.head_dim,
          .weights = s.heads * s.pair_offsets[sequence] + head * n_q * n_k,
          .rows = q * s.heads + head * n_q,
          .q_row = q_row,
          .k_row = k_row,
          .dim = dim,
          .first_query = q,
          .head = static_cast<int>(head)};
}

/// How many blocks of threads share a (sequence, head) whose tiles are `tile` of `total` rows: as many as a sequence of
/// the mean length has tiles. What is computed does not depend on it.
inline int64_t tile_groups(int64_t total, int64_t batch, int tile) {
  const int64_t tiles = batch > 0 ? divide_up(divide_up(total, batch), tile) : 1;
  return tiles < 1 ? 1 : tiles > 64 ? 64 : tiles;
}

// --- keys that take no part ------------------------------------------------------------------------------------------

template <class T>
using UInt = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;

/// What stands in a row for a key that takes no part: a NaN that no arithmetic makes of numbers.
template <class T>
__device__ __forceinline__ T absent() {
  return std::bit_cast<T>(static_cast<UInt<T>>(~UInt<T>{0}));
}
template <class T>
__device__ __forceinline__ bool is_absent(T x) {
  return std::bit_cast<UInt<T>>(x) == static_cast<UInt<T>>(~UInt<T>{0});
}
/// x, but for a NaN that could be taken for absent().
template <class T>
__device__ __forceinline__ T present(T x) {
  return x == x ? x : std::numeric_limits<T>::quiet_NaN();
}

// --- chance ----------------------------------------------------------------------------------------------------------

/// keeps(random_word(key, element), p), without an index that would send the words to memory.
__device__ __forceinline__ bool chance_keeps(const RandomKey& key, double p, int64_t element) {
  const auto e = static_cast<uint64_t>(element);
  const auto words = random_block(key, e / 4);
  const uint32_t low = (e & 1) != 0 ? words[1] : words[0], high = (e & 1) != 0 ? words[3] : words[2];
  return keeps((e & 2) != 0 ? high : low, p);
}

/// What dropout multiplies a weight with.
template <class T>
__device__ __forceinline__ T weight_factor(const Dropout& dropout, int64_t element) {
  return chance_keeps(dropout.key, dropout.p, element) ? formulas::dropout_factor<T>(dropout.p) : T(0);
}

/// A marked_weight() without its mark, and the factor of dropout that the mark stands for; `up` is dropout_factor().
template <class T>
__device__ __forceinline__ T unmarked(T weight) {
  return std::bit_cast<T>(static_cast<UInt<T>>(std::bit_cast<UInt<T>>(weight) & (~UInt<T>{0} >> 1)));
}
template <class T>
__device__ __forceinline__ T marked_factor(T weight, T up) {
  return std::bit_cast<UInt<T>>(weight) > (~UInt<T>{0} >> 1) ? T(0) : up;
}

// --- products --------------------------------------------------------------------------------------------------------

/// Of how many keys a row of the work of a warp fits into shared memory; longer rows lie in device memory.
template <class T>
constexpr int short_row = 2048 / sizeof(T);

/// A block's shared memory, as the kernels by rows use it.
template <class T>
struct RowsMemory {
  static constexpr int tiles_size = tile_keys * (tile_cols + 1) + tile_rows * tile_cols, room_size = 32 * warp_rows;
  static constexpr size_t bytes = sizeof(T) * (tiles_size + attention_warps * room_size + tile_rows * short_row<T>);

  T* tiles;  // of row_products()
  T* room;   // this warp's, of weighted_sums()
  T* rows;   // short ones

  __device__ __forceinline__ RowsMemory()
      : tiles(shared_memory<T>()),
        room(tiles + tiles_size + room_size * (threadIdx.x / warp)),
        rows(tiles + tiles_size + room_size * attention_warps) {}
  /// Of this warp's row r of a tile.
  __device__ __forceinline__ T* row(int r) const {
    return rows + (threadIdx.x / warp + attention_warps * r) * short_row<T>;
  }
};

/// The rows of a tile that a warp works on: queries first + warp and 8 more. Those that there are come first.
struct WarpRows {
  int first, count;
  __device__ __forceinline__ WarpRows(int tile, int n_q) {
    first = tile * tile_rows + static_cast<int>(threadIdx.x / warp);
    count = first + attention_warps < n_q ? 2 : first < n_q ? 1 : 0;
  }
  __device__ __forceinline__ int query(int r) const { return first + attention_warps * r; }
  /// Of its row in a matrix with rows of n_k.
  __device__ __forceinline__ int64_t offset(int r, int n_k) const { return static_cast<int64_t>(query(r)) * n_k; }
};

/// to(r, j, a_i b_j) for the two rows i of each warp in a tile of a [n_a, ..], and all rows j of b [n_b, ..]. Rows are
/// `cols` wide, and a_row and b_row apart. To be called by the whole block; `room`: RowsMemory::tiles.
template <class T, class To>
__device__ __forceinline__ void row_products(const T* a, int64_t a_row, int tile, int n_a, const T* b, int64_t b_row,
                                             int n_b, int cols, T* room, To to) {
  constexpr int key_row = tile_cols + 1;  // without conflicts between banks
  T *keys = room, *rows = room + tile_keys * key_row;
  const int lane = threadIdx.x % warp, own = threadIdx.x / warp, first = tile * tile_rows;
  for (int j0 = 0; j0 < n_b; j0 += tile_keys) {
    const bool wide = j0 + 32 < n_b;  // lanes have a second key
    T sum[warp_rows][2] = {};
    for (int c0 = 0; c0 < cols; c0 += tile_cols) {
      const int width = min(tile_cols, cols - c0);
      __syncthreads();  // nobody reads the tiles any more
      if (lane < width) {
        for (int j = own; j < (wide ? tile_keys : 32); j += attention_warps)
          keys[j * key_row + lane] = j0 + j < n_b ? b[(j0 + j) * b_row + c0 + lane] : T(0);
        for (int i = own; i < tile_rows; i += attention_warps)
          rows[i * tile_cols + lane] = first + i < n_a ? a[(first + i) * a_row + c0 + lane] : T(0);
      }
      __syncthreads();
      for (int c = 0; c < width; ++c) {
        const T k0 = keys[lane * key_row + c], k1 = wide ? keys[(lane + 32) * key_row + c] : T(0);
#pragma unroll
        for (int r = 0; r < warp_rows; ++r) {
          const T q = rows[(own + attention_warps * r) * tile_cols + c];
          sum[r][0] += q * k0;
          sum[r][1] += q * k1;
        }
      }
    }
#pragma unroll
    for (int r = 0; r < warp_rows; ++r) {
      if (first + own + attention_warps * r >= n_a) continue;
      if (j0 + lane < n_b) to(r, j0 + lane, sum[r][0]);
      if (j0 + 32 + lane < n_b) to(r, j0 + 32 + lane, sum[r][1]);
    }
  }
}

/// to(r, c, sum over j of value(r, j, last) times b[j][c]) for a warp's rows, without the j whose value is absent(),
/// whose rows are not read. Values are asked for again for each 64 columns; `last` says that it is for the last time.
/// `room`: RowsMemory::room.
template <class T, class Value, class To>
__device__ __forceinline__ void weighted_sums(int rows, const T* b, int64_t b_row, int n_b, int cols, T* room,
                                              Value value, To to) {
  const int lane = threadIdx.x % warp;
  for (int c0 = 0; c0 < cols; c0 += 64) {
    const bool last = c0 + 64 >= cols, left = c0 + lane < cols, right = c0 + 32 + lane < cols;
    T sum[warp_rows][2] = {};
    for (int j0 = 0; j0 < n_b; j0 += 32) {
      __syncwarp();
#pragma unroll
      for (int r = 0; r < warp_rows; ++r)
        room[32 * r + lane] = r < rows && j0 + lane < n_b ? value(r, j0 + lane, last) : absent<T>();
      __syncwarp();
      const int count = min(32, n_b - j0);
      const T* row = b + j0 * b_row + c0 + lane;
      for (int j = 0; j < count; ++j, row += b_row) {
        const T p[warp_rows] = {room[j], room[32 + j]};
        if (is_absent(p[0]) && is_absent(p[1])) continue;
        const T x = left ? row[0] : T(0), y = right ? row[32] : T(0);
#pragma unroll
        for (int r = 0; r < warp_rows; ++r) {
          if (is_absent(p[r])) continue;
          sum[r][0] += p[r] * x;
          sum[r][1] += p[r] * y;
        }
      }
    }
#pragma unroll
    for (int r = 0; r < warp_rows; ++r) {
      if (r >= rows) continue;
      if (left) to(r, c0 + lane, sum[r][0]);
      if (right) to(r, c0 + 32 + lane, sum[r][1]);
    }
  }
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
