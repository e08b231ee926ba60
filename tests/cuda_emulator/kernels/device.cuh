// What the tests' kernels share.
#pragma once

#include <cuda_runtime.h>

namespace crisp::test {

// The launch's dynamic shared memory. In CUDA one name serves all kernels.
#ifdef CUDA_EMULATED
template <class T>
T* shared_memory() {
  return static_cast<T*>(emulator::dynamic_shared());
}
#else
extern __shared__ __align__(16) unsigned char shared_bytes[];
template <class T>
__device__ __forceinline__ T* shared_memory() {
  return reinterpret_cast<T*>(shared_bytes);
}
#endif

constexpr unsigned all_lanes = 0xffffffffu;

template <class T>
__device__ __forceinline__ T warp_sum(T v) {
  for (int distance = 16; distance > 0; distance >>= 1) v += __shfl_xor_sync(all_lanes, v, distance);
  return v;
}

/// The sum over a block of whole warps; `room` holds an element a warp. Threads must meet before `room` is used again.
template <class T>
__device__ __forceinline__ T block_sum(T v, T* room) {
  v = warp_sum(v);
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = v;
  __syncthreads();
  T sum = room[0];
  for (unsigned w = 1; w < blockDim.x / 32; ++w) sum += room[w];
  return sum;
}

inline cudaLaunchConfig_t launch_config(unsigned blocks, unsigned threads, size_t shared = 0,
                                        cudaStream_t stream = nullptr) {
  cudaLaunchConfig_t c{};
  c.gridDim = dim3(blocks);
  c.blockDim = dim3(threads);
  c.dynamicSmemBytes = shared;
  c.stream = stream;
  return c;
}

}  // namespace crisp::test
