// LayerNorm over the last dimension, fused with what surrounds it: the sum with the residual or of embeddings, and
// dropout on either side. A block owns a row at a time, a thread packs of neighbouring columns. All sums are formed in
// f64; those of the parameters' gradients per chunk of rows, which a second launch adds.
#include "engine/cuda/packs.cuh"
#include "engine/cuda/sums.cuh"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

template <class T>
using Formula = formulas::LayerNorm<T, Math>;

constexpr size_t most_shared = size_t{48} << 10;
constexpr size_t room_bytes = 4 * 8 * sizeof(double);  // for sums over a block of 8 warps at most, four at a time

// f(first column) for the packs of this thread.
template <int width, class F>
__device__ __forceinline__ void for_packs(int64_t cols, F f) {
  for (int64_t j = threadIdx.x * width; j < cols; j += blockDim.x * width) f(j);
}

// `in_shared`: z of the row is also kept in shared memory, from where it is read again.
template <class T, int width>
__global__ void __launch_bounds__(256) layer_norm_rows(LayerNormCall<T> c, bool in_shared) {
  double* const room = shared_memory<double>();
  const int64_t i = blockIdx.x, n = c.cols;
  const T* const x = c.x + (c.x_rows ? c.x_rows[i] : i) * n;
  const T* row = x;
  double sum = 0;
  if (c.r) {
    const T* const r = c.r + (c.r_rows ? c.r_rows[i] : i) * n;
    T* const z = c.z + i * n;
    T* const kept = in_shared ? reinterpret_cast<T*>(reinterpret_cast<char*>(room) + room_bytes) : z;
    for_packs<width>(n, [&](int64_t j) {
      auto sums = load<width>(x + j);
      const auto residual = load<width>(r + j);
      const auto f = dropout_factors<T, width>(c.dropout_r, i * n + j);
#pragma unroll
      for (int k = 0; k < width; ++k) {
        sums.v[k] += formulas::dropout(residual.v[k], f.v[k]);
        sum += static_cast<double>(sums.v[k]);
      }
      store(z + j, sums);
      if (in_shared) store(kept + j, sums);
    });
    row = kept;  // a thread reads what it has written
  } else {
    for_packs<width>(n, [&](int64_t j) {
      const auto values = load<width>(x + j);
#pragma unroll
      for (int k = 0; k < width; ++k) sum += static_cast<double>(values.v[k]);
    });
  }
  const T mean = static_cast<T>(block_sum(sum, room) / static_cast<double>(n));
  double squares = 0;
  for_packs<width>(n, [&](int64_t j) {  // of the centred values: no cancellation
    const auto values = load<width>(row + j);
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const auto centred = static_cast<double>(values.v[k] - mean);
      squares += centred * centred;
    }
  });
  squares = block_sum(squares, room + 8);
  const T inverse = Formula<T>::inverse(squares / static_cast<double>(n), c.epsilon);
  if (threadIdx.x == 0) {
    c.stats[2 * i] = mean;
    c.stats[2 * i + 1] = inverse;
  }
  for_packs<width>(n, [&](int64_t j) {
    auto values = load<width>(row + j);
    const auto weight = load<width>(c.weight + j), bias = load<width>(c.bias + j);
    const auto f = dropout_factors<T, width>(c.dropout_y, i * n + j);
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const T y = Formula<T>::value(Formula<T>::normalised(values.v[k], mean, inverse), weight.v[k], bias.v[k]);
      values.v[k] = formulas::dropout(y, f.v[k]);
    }
    store(c.y + i * n + j, values);
  });
}

template <class T>
void layer_norm(const LayerNormCall<T>& c) {
  const size_t row_bytes = static_cast<size_t>(c.cols) * sizeof(T);
  const bool in_shared = c.r && room_bytes + row_bytes <= most_shared;
  const Grid grid{.blocks = c.rows, .threads = row_threads(c.cols), .shared = room_bytes + (in_shared ? row_bytes : 0)};
  const bool packs = c.cols % 4 == 0 && are_aligned({c.x, c.r, c.weight, c.bias, c.z, c.y});
  launch("layer_norm", grid, packs ? layer_norm_rows<T, 4> : layer_norm_rows<T, 1>, c, in_shared);
}

// Where the sum for column j + k of a pack stands: sums of one k side by side, so that neighbouring threads use
// neighbouring banks. A width of 1 leaves the columns in their order.
template <int width>
__device__ __forceinline__ int64_t sum_at(int64_t cols, int64_t j, int k) {
  return width == 1 ? j : (cols / width + 8) * k + j / width;
}
constexpr int64_t sums_of(int64_t cols, int width) { return width == 1 ? cols : cols + 8 * width; }

// Rows blockIdx.x chunk .. +chunk. The chunk's sums of dweight, then of dbias, go to row blockIdx.x of `partial`,
// unless it is null; until then they are in shared memory (in_shared) or there already.
template <class T, int width>
__global__ void __launch_bounds__(256)
    layer_norm_backward_rows(LayerNormGradient<T> c, int64_t chunk, double* partial, bool in_shared) {
  double* const room = shared_memory<double>();
  const int64_t n = c.cols, begin = blockIdx.x * chunk, end = begin + chunk < c.rows ? begin + chunk : c.rows;
  double* const out = partial ? partial + blockIdx.x * 2 * n : nullptr;
  double* const weight_sums = in_shared || !partial ? room + room_bytes / sizeof(double) : out;
  double* const bias_sums = weight_sums + sums_of(n, width);
  if (partial) {
    for_packs<width>(n, [&](int64_t j) {
#pragma unroll
      for (int k = 0; k < width; ++k) weight_sums[sum_at<width>(n, j, k)] = bias_sums[sum_at<width>(n, j, k)] = 0;
    });
  }
  for (int64_t i = begin; i < end; ++i) {
    const T mean = c.stats[2 * i], inverse = c.stats[2 * i + 1];
    // f(column, dy, n, h) of the thread's elements.
    const auto for_elements_of = [&](auto f) {
      for_packs<width>(n, [&](int64_t j) {
        const auto z = load<width>(c.z + i * n + j), weight = load<width>(c.weight + j);
        auto dy = load<width>(c.dy + i * n + j), normalised = z, h = z;
        const auto factors = dropout_factors<T, width>(c.dropout_y, i * n + j);
#pragma unroll
        for (int k = 0; k < width; ++k) {
          dy.v[k] = formulas::dropout(dy.v[k], factors.v[k]);
          normalised.v[k] = Formula<T>::normalised(z.v[k], mean, inverse);
          h.v[k] = dy.v[k] * weight.v[k];
        }
        f(j, dy, normalised, h);
      });
    };
    double h_sum = 0, hn_sum = 0;
    for_elements_of([&](int64_t j, const auto& dy, const auto& normalised, const auto& h) {
#pragma unroll
      for (int k = 0; k < width; ++k) {
        h_sum += static_cast<double>(h.v[k]);
        hn_sum += static_cast<double>(h.v[k] * normalised.v[k]);
        if (partial) {
          const int64_t at = sum_at<width>(n, j, k);
          weight_sums[at] += static_cast<double>(Formula<T>::dweight(dy.v[k], normalised.v[k]));
          bias_sums[at] += static_cast<double>(dy.v[k]);
        }
      }
    });
    if (!c.dx && !c.dr) continue;
    double* const mine = room + (i & 1) * 16;  // a warp may still read the last row's
    const T mean_h = static_cast<T>(block_sum(h_sum, mine) / static_cast<double>(n));
    const T mean_hn = static_cast<T>(block_sum(hn_sum, mine + 8) / static_cast<double>(n));
    for_elements_of([&](int64_t j, const auto&, const auto& normalised, const auto& h) {
      auto dz = h;
#pragma unroll
      for (int k = 0; k < width; ++k) dz.v[k] = Formula<T>::dx(h.v[k], normalised.v[k], inverse, mean_h, mean_hn);
      if (c.dx) put_pack(c.dx + i * n + j, dz, c.beta_x);
      if (!c.dr) return;
      const auto factors = dropout_factors<T, width>(c.dropout_r, i * n + j);
#pragma unroll
      for (int k = 0; k < width; ++k) dz.v[k] = formulas::dropout(dz.v[k], factors.v[k]);
      put_pack(c.dr + i * n + j, dz, c.beta_r);
    });
  }
  if (!partial || !in_shared) return;
  __syncthreads();
  for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
    const int64_t at = sum_at<width>(n, j, static_cast<int>(j % width));
    out[j] = weight_sums[at];
    out[n + j] = bias_sums[at];
  }
}

template <class T>
void layer_norm_backward(const LayerNormGradient<T>& c) {
  const bool parameters = c.dweight || c.dbias;
  const int64_t cols = c.cols;
  const auto [chunk, chunks] = cuda_rules::layer_norm_chunks(c);
  double* const partial = parameters ? static_cast<double*>(scratch(cuda_rules::scratch_of(c))) : nullptr;
  const bool fits = room_bytes + static_cast<size_t>(2 * sums_of(cols, 4)) * sizeof(double) <= most_shared;
  const bool packs = cols % 4 == 0 && (fits || !parameters) && are_aligned({c.z, c.weight, c.dy, c.dx, c.dr});
  const bool in_shared = parameters && fits;
  const size_t sums_bytes = in_shared ? static_cast<size_t>(2 * sums_of(cols, packs ? 4 : 1)) * sizeof(double) : 0;
  launch("layer_norm_backward", {.blocks = chunks, .threads = row_threads(cols), .shared = room_bytes + sums_bytes},
         packs ? layer_norm_backward_rows<T, 4> : layer_norm_backward_rows<T, 1>, c, chunk, partial, in_shared);
  if (!parameters || cols == 0) return;
  const PutSum<T> put_weight{c.dweight, c.beta_weight}, put_bias{c.dbias, c.beta_bias};
  const auto finish = [=] __device__(int64_t at, double total) {
    if (at < cols && put_weight.out) put_weight(at, total);
    if (at >= cols && put_bias.out) put_bias(at - cols, total);
  };
  column_sums_at_once("layer_norm_backward", 1, chunks, 2 * cols, PartialSums{partial, chunks, 2 * cols}, finish);
}

}  // namespace

void fill_layer_norm(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) {
    table.layer_norm = layer_norm<T>;
    table.layer_norm_backward = layer_norm_backward<T>;
  });
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
