// Kernels that move elements or set them: strided blocks and transposition, filling, clamping, rows of tables.
#include "engine/cuda/kernels.cuh"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

template <class T>
void copy_2d(int64_t rows, int64_t cols, const T* x, int64_t x_stride, T* out, int64_t out_stride, double beta) {
  for_elements("copy_2d", rows * cols, [=] __device__(int64_t i) {
    const Cell at = cell_of(i, cols);
    put(out[at.row * out_stride + at.col], x[at.row * x_stride + at.col], beta);
  });
}

constexpr int tile = 32, tile_rows = 8;  // a block of tile x tile_rows threads moves a tile x tile square

// Through shared memory, so that rows are read and rows are written; its rows are one element longer, so that a column
// lies in banks of its own.
template <class T>
__global__ void __launch_bounds__(tile* tile_rows)
    transpose_tiles(int64_t rows, int64_t cols, int64_t tiles_down, int64_t tiles_across, const T* x, T* out,
                    double beta) {
  T* const square = shared_memory<T>();
  const int64_t block = blockIdx.x, batch = block / (tiles_down * tiles_across);
  const int64_t r0 = block / tiles_across % tiles_down * tile, c0 = block % tiles_across * tile;
  const int across = static_cast<int>(threadIdx.x) % tile, down = static_cast<int>(threadIdx.x) / tile;
  x += batch * rows * cols;
  out += batch * rows * cols;
  for (int r = down; r < tile; r += tile_rows)
    if (r0 + r < rows && c0 + across < cols) square[r * (tile + 1) + across] = x[(r0 + r) * cols + c0 + across];
  __syncthreads();
  for (int c = down; c < tile; c += tile_rows)
    if (c0 + c < cols && r0 + across < rows)
      put(out[(c0 + c) * rows + r0 + across], square[across * (tile + 1) + c], beta);
}

template <class T>
void transpose(int64_t batch, int64_t rows, int64_t cols, const T* x, T* out, double beta) {
  const int64_t down = divide_up(rows, tile), across = divide_up(cols, tile);
  launch("transpose", {batch * down * across, tile * tile_rows, tile * (tile + 1) * sizeof(T)}, transpose_tiles<T>,
         rows, cols, down, across, x, out, beta);
}

template <class T>
void fill(int64_t n, double value, T* x) {
  const T v = static_cast<T>(value);
  for_elements("fill", n, [=] __device__(int64_t i) { x[i] = v; });
}

template <class T>
void clamp(int64_t n, double low, double high, T* x, const ClipResult* clip) {
  const T least = static_cast<T>(low), most = static_cast<T>(high);
  for_elements("clamp", n, [=] __device__(int64_t i) {
    if (clip && clip->is_finite == 0) return;
    x[i] = x[i] < least ? least : x[i] > most ? most : x[i];
  });
}

template <class T>
void gather_rows(int64_t n, int64_t cols, const int32_t* ids, const T* table, T* out, double beta) {
  for_elements("gather_rows", n * cols, [=] __device__(int64_t i) {
    const Cell at = cell_of(i, cols);
    put(out[i], table[ids[at.row] * cols + at.col], beta);
  });
}

// A thread adds up one element, in the order of the plan.
template <class T>
void sum_rows(const SumRowsCall<T>& call) {
  for_elements("sum_rows", call.count * call.cols, [call] __device__(int64_t i) {
    const Cell at = cell_of(i, call.cols);
    T* const out = call.out + (call.to ? call.to[at.row] : at.row) * call.cols + at.col;
    const T* before = call.beta != 0 ? out : nullptr;
    if (call.old_of) before = call.old_of[at.row] < 0 ? nullptr : call.old + call.old_of[at.row] * call.cols + at.col;
    int32_t k = call.starts[at.row];
    const int32_t end = call.starts[at.row + 1];
    const auto row = [&](int32_t position) { return call.x[call.order[position] * call.cols + at.col]; };
    // The first is not added to a 0, which would change the sign of -0.
    T sum = before ? *before : k < end ? row(k++) : T(0);
    for (; k < end; ++k) sum += row(k);
    *out = sum;
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

}  // namespace crisp::CRISP_CUDA_NAMESPACE
