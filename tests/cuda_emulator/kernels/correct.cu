#include "tests/cuda_emulator/kernels/correct.h"

#include "tests/cuda_emulator/kernels/device.cuh"

namespace crisp::test {
namespace {

constexpr int threads = 128;

template <class T>
__global__ void __launch_bounds__(256) sum_blocks(const T* x, T* out) {
  const T sum = block_sum(x[blockIdx.x * blockDim.x + threadIdx.x], shared_memory<T>());
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

// Unsigned numbers in the order of the scores.
__device__ __forceinline__ unsigned order_key(float score) {
  const int bits = __float_as_int(score + 0.0f);
  return static_cast<unsigned>(bits ^ ((bits >> 31) & 0x7fffffff)) ^ 0x80000000u;
}

// A warp owns a row at a time, a lane up to four keys of it.
__global__ void __launch_bounds__(threads) keep_largest(int rows, int cols, int k, const float* x, uint8_t* kept) {
  constexpr int per_lane = 4;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int row = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) / 32; row < rows;
       row += static_cast<int>(gridDim.x * blockDim.x) / 32) {
    unsigned key[per_lane];
#pragma unroll
    for (int i = 0; i < per_lane; ++i) {
      const int j = 32 * i + lane;
      key[i] = j < cols ? order_key(x[row * cols + j]) : 0;
    }
    unsigned limit = 0;  // the largest with at least k keys at or above it, from the top bit down
    for (int bit = 31; bit >= 0; --bit) {
      int count = 0;
#pragma unroll
      for (int i = 0; i < per_lane; ++i) count += __popc(__ballot_sync(all_lanes, key[i] >= (limit | 1u << bit)));
      if (count >= k) limit |= 1u << bit;
    }
    int ties = k;
#pragma unroll
    for (int i = 0; i < per_lane; ++i) ties -= __popc(__ballot_sync(all_lanes, key[i] > limit));
#pragma unroll
    for (int i = 0; i < per_lane; ++i) {
      const int j = 32 * i + lane;
      const unsigned equal = __ballot_sync(all_lanes, key[i] == limit && j < cols);
      const bool is_tie = (equal >> lane & 1) != 0 && __popc(equal & ((1u << lane) - 1)) < ties;
      if (j < cols) kept[row * cols + j] = key[i] > limit || is_tie;
      ties -= __popc(equal);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(threads)
    normalise(int rows, int cols, const T* x, const T* weight, const T* bias, T epsilon, T* y) {
  T* room = shared_memory<T>();  // two elements a warp
  for (int row = static_cast<int>(blockIdx.x); row < rows; row += static_cast<int>(gridDim.x)) {
    const T* mine = x + row * cols;
    T sum = 0;
    for (int c = static_cast<int>(threadIdx.x); c < cols; c += threads) sum += mine[c];
    const T mean = block_sum(sum, room) / static_cast<T>(cols);
    T squares = 0;
    for (int c = static_cast<int>(threadIdx.x); c < cols; c += threads) squares += (mine[c] - mean) * (mine[c] - mean);
    const T inverse = T(1) / sqrt(block_sum(squares, room + threads / 32) / static_cast<T>(cols) + epsilon);
    for (int c = static_cast<int>(threadIdx.x); c < cols; c += threads)
      y[row * cols + c] = (mine[c] - mean) * inverse * weight[c] + bias[c];
    __syncthreads();  // before `room` is used again
  }
}

__global__ void scale_all(int n, float factor, float summand, float* x) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) x[i] = factor * x[i] + summand;
}

__global__ void note_order(int* count, int* order) {
  order[atomicAdd(count, 1)] = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}

__constant__ float table[2] = {3.0f, 0.0f};

__global__ void do_no_harm(uint8_t* bytes, uint16_t* halves, int* count, float* x) {
  float* s = shared_memory<float>();
  const unsigned t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  bytes[t] = 1;
  halves[t] = 1;
  atomicAdd(count, 1);
  atomicMax(count + 1, static_cast<int>(t));
  atomicOr(count + 2, 1 << (t % 8));
  s[t] = static_cast<float>(t);
  __syncwarp();
  const float neighbour = s[t ^ 1];
  __syncwarp();
  s[t] = neighbour;
  __syncthreads();
  const float all = s[0] + s[63];  // 1 + 62, read by everybody
  const int counted = __syncthreads_count(t % 2 == 0);
  const int all_counted = count[0] - 64;  // a plain read, after a barrier
  s[t ^ 32] = all - 63 + static_cast<float>(counted - 32);
  __syncthreads();
  const int sum = warp_sum(1) - 32 + __shfl_down_sync(all_lanes, 0, 1) + __shfl_up_sync(all_lanes, 0, 1);
  x[t] = s[t] + 2 * static_cast<float>(t) + table[t & 0] + static_cast<float>(sum + all_counted) +
         static_cast<float>(__shfl_sync(all_lanes, static_cast<int>(t % 32), 5) - 5);
}

__global__ void access_in_patterns(float* x) {
  float* s = shared_memory<float>();
  const unsigned t = threadIdx.x;
  x[t] = 1;  // neighbours
  __syncwarp();
  x[t + 1] = 2;  // neighbours across sectors
  __syncwarp();
  x[32 * t] = 3;  // a sector each
  __syncwarp();
  s[t] = 1;  // a bank each
  __syncwarp();
  s[32 * t] = 2;  // one bank for all
  __syncwarp();
  s[33 * t] = 3;  // skewed rows
  __syncwarp();
  reinterpret_cast<double*>(s)[t] = 4;  // two words each
  for (int turn = 0; turn < 2; ++turn) {
    for (unsigned i = t; i < 40; i += warp) x[i] = 5;  // more by some lanes
    __syncwarp();
  }
}

}  // namespace

template <class T>
cudaError_t block_sums(cudaStream_t stream, unsigned blocks, const T* x, T* out) {
  const auto c = launch_config(blocks, 256, 256 / 32 * sizeof(T), stream);
  return cudaLaunchKernelEx(&c, sum_blocks<T>, x, out);
}

cudaError_t top_k(cudaStream_t stream, int rows, int cols, int k, const float* x, uint8_t* kept) {
  const auto c = launch_config(2, threads, 0, stream);
  return cudaLaunchKernelEx(&c, keep_largest, rows, cols, k, x, kept);
}

template <class T>
cudaError_t layer_norm(cudaStream_t stream, int rows, int cols, const T* x, const T* weight, const T* bias, T epsilon,
                       T* y) {
  const auto c = launch_config(3, threads, 2 * threads / 32 * sizeof(T), stream);
  return cudaLaunchKernelEx(&c, normalise<T>, rows, cols, x, weight, bias, epsilon, y);
}

cudaError_t scale(cudaStream_t stream, int n, float factor, float summand, float* x) {
  const auto c = launch_config(static_cast<unsigned>(n + threads - 1) / threads, threads, 0, stream);
  return cudaLaunchKernelEx(&c, scale_all, n, factor, summand, x);
}

cudaError_t trace_order(cudaStream_t stream, unsigned blocks, unsigned size, int* count, int* order) {
  const auto c = launch_config(blocks, size, 0, stream);
  return cudaLaunchKernelEx(&c, note_order, count, order);
}

cudaError_t innocent(cudaStream_t stream, uint8_t* bytes, uint16_t* halves, int* count, float* x) {
  auto c = launch_config(1, 1, 64 * sizeof(float), stream);
  c.blockDim = dim3(8, 4, 2);
  return cudaLaunchKernelEx(&c, do_no_harm, bytes, halves, count, x);
}

cudaError_t access_patterns(float* x) {
  const auto c = launch_config(1, 32, 32 * 33 * sizeof(float));
  return cudaLaunchKernelEx(&c, access_in_patterns, x);
}

template cudaError_t block_sums(cudaStream_t, unsigned, const float*, float*);
template cudaError_t block_sums(cudaStream_t, unsigned, const double*, double*);
template cudaError_t layer_norm(cudaStream_t, int, int, const float*, const float*, const float*, float, float*);
template cudaError_t layer_norm(cudaStream_t, int, int, const double*, const double*, const double*, double, double*);

}  // namespace crisp::test
