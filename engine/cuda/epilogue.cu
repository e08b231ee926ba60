#include "engine/cuda/epilogue.h"

#include "engine/cuda/packs.cuh"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

// --- bias and activation ---------------------------------------------------------------------------------------------

// A thread takes `width` neighbours in a row.
template <int width, class T>
bool takes_packs(const GemmCall<T>& g) {
  return g.n % width == 0 && g.ldc % width == 0 && (g.batch == 1 || g.stride_c % width == 0) &&
         are_aligned({g.c, g.gelu_out, g.bias});
}

// reads_c: there is something in c to start from.
template <int width, class T>
void finish_packs(const GemmCall<T>& g, bool reads_c, bool writes_c, const T* bias) {
  T* const c = g.c;
  T* const gelu_out = g.gelu_out;
  const int64_t across = g.n / width, m = g.m, ldc = g.ldc, stride = g.stride_c;
  const bool is_one_array = (m == 1 || ldc == g.n) && (g.batch == 1 || stride == m * g.n);
  for_elements("a product's epilogue", g.batch * m * across, [=] __device__(int64_t i) {
    int64_t at = i * width, column = 0;
    if (bias || !is_one_array) {
      const Cell cell = cell_of(i, across);
      column = cell.col * width;
      if (!is_one_array) at = cell.row / m * stride + cell.row % m * ldc + column;
    }
    Pack<T, width> x{};
    if (reads_c) x = load<width>(c + at);
    if (bias) {
      const Pack<T, width> b = load<width>(bias + column);
#pragma unroll
      for (int j = 0; j < width; ++j) x.v[j] += b.v[j];
    }
    if (writes_c) store(c + at, x);
    if (gelu_out) {
#pragma unroll
      for (int j = 0; j < width; ++j) x.v[j] = formulas::Gelu<T, Math>::value(x.v[j]);
      store(gelu_out + at, x);
    }
  });
}

// --- sums of squares -------------------------------------------------------------------------------------------------

// A warp sums so many neighbours in a row.
constexpr int64_t part = 2048;

// Rows of a matrix, or of several that lie `stride` elements apart, in parts numbered from `first`.
template <class T>
struct Summed {
  const T* x;
  double* out;
  int64_t rows, rows_of_one, cols, stride, parts_in_row, first;
};
constexpr int most_summed = 112;  // in one launch: more than DistilBERT has parameters
template <class T>
struct SummedList {
  int count = 0;
  int64_t parts = 0;
  Summed<T> all[most_summed];
};

template <class T>
__global__ void __launch_bounds__(256) square_parts(const __grid_constant__ SummedList<T> list, double* sums) {
  const int64_t number = thread_index() / warp, lane = threadIdx.x % warp;
  if (number >= list.parts) return;  // all lanes of the warp
  const Summed<T>& a = list.all[part_of(number, list.count, [&](int i) { return list.all[i].first; })];
  const auto [row, within] = cell_of(number - a.first, a.parts_in_row);
  const Cell matrix = cell_of(row, a.rows_of_one);
  const T* const x = a.x + matrix.row * a.stride + matrix.col * a.cols;
  const int64_t begin = within * part, end = min(a.cols, begin + part);
  double sum = 0;
#pragma unroll 8
  for (int64_t i = begin + lane; i < end; i += warp) {
    const auto v = static_cast<double>(x[i]);
    sum += v * v;
  }
  sum = warp_sum(sum);
  if (lane == 0) sums[number] = sum;
}

// The sum of all numbers but the zeros among them, in an order that depends on how many are before each that are not
// zero: of those, thread t adds numbers t, t + slots, t + 2 slots... A block for each of the list.
constexpr unsigned slots = 256;

template <class T>
__global__ void __launch_bounds__(slots) add_parts(const __grid_constant__ SummedList<T> list, const double* sums) {
  const Summed<T>& a = list.all[blockIdx.x];
  const double* const parts = sums + a.first;
  const int64_t count = a.rows * a.parts_in_row;
  double* const slot = shared_memory<double>();                          // one a thread
  double* const room = slot + slots;                                     // one a warp
  auto* const found = reinterpret_cast<unsigned*>(room + slots / warp);  // one a warp
  const unsigned self = threadIdx.x, lane = self % warp;
  const auto number = [=](int64_t i) { return i < count ? parts[i] : 0.0; };
  slot[self] = 0;
  unsigned next = 0;  // the slot of the next number
  double ahead = number(self);
  for (int64_t begin = 0; begin < count; begin += slots) {
    const double v = ahead;
    ahead = number(begin + slots + self);
    const unsigned votes = __ballot_sync(all_lanes, v != 0);
    if (lane == 0) found[self / warp] = static_cast<unsigned>(__popc(votes));
    __syncthreads();
    unsigned before = 0, all = 0;
    for (unsigned w = 0; w < slots / warp; ++w) {
      before += w < self / warp ? found[w] : 0;
      all += found[w];
    }
    before += static_cast<unsigned>(__popc(votes & ((1u << lane) - 1)));
    if (v != 0) slot[(next + before) % slots] += v;
    next = (next + all) % slots;
    __syncthreads();
  }
  const double sum = block_sum(slot[self], room);
  if (self == 0) *a.out = sum;
}

template <class T>
void run(SummedList<T>& list) {
  if (list.count == 0) return;
  auto* const sums = scratch_of<double>(list.parts);
  launch("sum_squares", {.blocks = divide_up(list.parts, 256 / warp)}, square_parts<T>, list, sums);
  launch("sum_squares",
         {.blocks = list.count,
          .threads = slots,
          .shared = (slots + slots / warp) * sizeof(double) + slots / warp * sizeof(int)},
         add_parts<T>, list, sums);
  list.count = 0;
  list.parts = 0;
}

template <class T>
void add(SummedList<T>& list, const Matrices<T>& m, double* out) {
  if (list.count == most_summed) run(list);
  const int64_t rows = m.batch * m.rows, parts_in_row = divide_up(m.cols, part);
  list.all[list.count++] = {m.x, out, rows, m.rows, m.cols, m.stride, parts_in_row, list.parts};
  list.parts += rows * parts_in_row;
}

}  // namespace

template <class T>
void finish_product(const GemmCall<T>& g, bool has_product, bool has_bias) {
  const bool reads_c = has_product || g.beta != 0;
  const T* const bias = has_bias ? nullptr : g.bias;
  const bool writes_c = bias || !reads_c;
  if (!writes_c && !g.gelu_out) return;
  if (takes_packs<4>(g)) {
    finish_packs<4>(g, reads_c, writes_c, bias);
  } else {
    finish_packs<1>(g, reads_c, writes_c, bias);
  }
}
template void finish_product(const GemmCall<float>&, bool, bool);
template void finish_product(const GemmCall<double>&, bool, bool);

template <class T>
void sum_squares(const Matrices<T>& a, double* out) {
  SummedList<T> list;
  add(list, a, out);
  run(list);
}
template void sum_squares(const Matrices<float>&, double*);
template void sum_squares(const Matrices<double>&, double*);

template <class T>
void sum_squares(int64_t count, const SquaresOf<T>* matrices) {
  SummedList<T> list;
  for (int64_t i = 0; i < count; ++i) {
    const SquaresOf<T>& m = matrices[i];
    add(list, Matrices<T>{1, m.rows, m.cols, m.x, 0}, m.out);
  }
  run(list);
}
template void sum_squares(int64_t, const SquaresOf<float>*);
template void sum_squares(int64_t, const SquaresOf<double>*);

}  // namespace crisp::CRISP_CUDA_NAMESPACE
