// A GPU may or may not show these faults; the emulator must name each. Tests find a line by the comment at its end.
#include "tests/cuda_emulator/kernels/faults.h"

#include <map>

#include "tests/cuda_emulator/kernels/device.cuh"

namespace crisp::test {
namespace {

__global__ void divergent_barrier(float* x) {
  if (threadIdx.x < 32) {
    __syncthreads();  // barrier of the first warp
  } else {
    __syncthreads();  // barrier of the second warp
  }
  x[threadIdx.x] = 1;
}

__global__ void barrier_of_half(float* x) {
  if (threadIdx.x < 32) __syncthreads();  // barrier that half the threads never reach
  const float v = __shfl_xor_sync(all_lanes, 1.0f, 1);
  if (threadIdx.x >= 32) {
    for (int i = 0; i < 2; ++i) __syncwarp();
    if (threadIdx.x == 32) __syncwarp();  // sync of one lane
  }
  x[threadIdx.x] = v;
}

__global__ void shuffle_in_branch(float* x) {
  float v = 1;
  if (threadIdx.x < 16) v = __shfl_xor_sync(all_lanes, v, 1);  // shuffle of half the lanes
  x[threadIdx.x] = v;
}

__global__ void two_shuffles(float* x) {
  float v = 1;
  if (threadIdx.x < 16) {
    v = __shfl_xor_sync(all_lanes, v, 1);  // shuffle of the lower lanes
  } else {
    v = __shfl_xor_sync(all_lanes, v, 1);  // shuffle of the upper lanes
  }
  x[threadIdx.x] = v;
}

__global__ void partial_mask(float* x) {
  if (threadIdx.x < 16) x[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 1);  // mask of half the lanes
}

__global__ void unwritten_shared(float* x) {
  float* s = shared_memory<float>();
  if (threadIdx.x < 31) s[threadIdx.x] = 1;
  __syncthreads();
  x[threadIdx.x] = s[threadIdx.x];  // read of the last element
}

__global__ void unwritten_global(float* x) {
  x[threadIdx.x + 1] = x[threadIdx.x] + 1;  // read of fresh memory
}

__global__ void beyond_shared(float* x) {
  float* s = shared_memory<float>();
  s[threadIdx.x + 1] = 1;  // write beyond the block's
  x[threadIdx.x] = 1;
}

__global__ void beyond_global(float* x) {
  x[threadIdx.x + blockIdx.x * blockDim.x] = 1;  // write beyond the allocation
}

__global__ void between_blocks(float* x) {
  x[0] = static_cast<float>(blockIdx.x);  // write of both blocks
}

__global__ void read_between_blocks(float* x) {
  const float v = x[0];               // read of both blocks
  __syncthreads();                    // orders nothing between blocks
  if (blockIdx.x == 1) x[0] = v + 1;  // write of the second block
}

__global__ void warp_in_step(float* x) {  // the habit of warps whose lanes ran in step
  float* s = shared_memory<float>();
  s[threadIdx.x] = 0;
  __syncwarp();
  s[threadIdx.x] = 1;                   // write of each lane
  x[threadIdx.x] = s[threadIdx.x ^ 1];  // read of the neighbour's
}

__global__ void read_after_write(float* x) {
  float* s = shared_memory<float>();
  s[threadIdx.x] = 0;
  __syncthreads();
  s[threadIdx.x] = 1;                    // write before the missing barrier
  x[threadIdx.x] = s[threadIdx.x ^ 32];  // read after the missing barrier
}

__global__ void write_after_read(float* x) {
  float* s = shared_memory<float>();
  s[threadIdx.x] = 1;
  __syncthreads();
  const float v = s[threadIdx.x ^ 32];  // read before the missing barrier
  s[threadIdx.x] = v + 1;               // write after the missing barrier
  __syncthreads();
  x[threadIdx.x] = s[threadIdx.x];
}

__global__ void lanes_read_one_writes(float* x) {
  float* s = shared_memory<float>();
  s[threadIdx.x] = 0;
  __syncthreads();
  const float v = s[0];                 // read of all lanes
  if (threadIdx.x == 31) s[0] = v + 1;  // write of a lane
  x[threadIdx.x] = v;
}

__global__ void warps_read_one_writes(float* x) {
  float* s = shared_memory<float>();
  s[threadIdx.x] = 0;
  __syncthreads();
  const float v = s[0];  // read of all warps
  __syncwarp();
  if (threadIdx.x == 63) s[0] = v + 1;  // write of the last lane
  x[threadIdx.x] = v;
}

__global__ void sync_of_warp_only(float* x) {
  float* s = shared_memory<float>();
  s[threadIdx.x] = 0;
  __syncthreads();
  s[threadIdx.x] = 1;                    // write before __syncwarp
  __syncwarp();                          // should be __syncthreads
  x[threadIdx.x] = s[threadIdx.x ^ 32];  // read after __syncwarp
}

__global__ void shuffle_orders_nothing(float* x) {
  float* s = shared_memory<float>();
  s[threadIdx.x] = 1;  // write before the shuffle
  const float v = __shfl_xor_sync(all_lanes, 1.0f, 1);
  x[threadIdx.x] = s[threadIdx.x ^ 1] + v;  // read after the shuffle
}

__global__ void room_used_again(float* x) {
  float* room = shared_memory<float>();
  const float sum = block_sum(1.0f, room);
  x[threadIdx.x] = block_sum(sum, room);  // sum without a barrier before
}

__global__ void plain_beside_atomic(float* x) {
  auto* count = reinterpret_cast<int*>(x);
  atomicAdd(count, 1);                  // atomic access
  if (threadIdx.x == 40) count[0] = 7;  // plain write
}

__global__ void read_beside_atomic(float* x) {
  auto* count = reinterpret_cast<int*>(x);
  atomicAdd(count, 1);
  if (threadIdx.x == 63) count[1] = count[0];  // read of what others count
}

}  // namespace

cudaError_t launch_fault(const std::string& name, unsigned blocks, unsigned threads, size_t shared, float* x) {
  static const std::map<std::string, void (*)(float*)> kernels = {
      {"divergent_barrier", divergent_barrier},
      {"barrier_of_half", barrier_of_half},
      {"shuffle_in_branch", shuffle_in_branch},
      {"two_shuffles", two_shuffles},
      {"partial_mask", partial_mask},
      {"unwritten_shared", unwritten_shared},
      {"unwritten_global", unwritten_global},
      {"beyond_shared", beyond_shared},
      {"beyond_global", beyond_global},
      {"between_blocks", between_blocks},
      {"read_between_blocks", read_between_blocks},
      {"warp_in_step", warp_in_step},
      {"read_after_write", read_after_write},
      {"write_after_read", write_after_read},
      {"lanes_read_one_writes", lanes_read_one_writes},
      {"warps_read_one_writes", warps_read_one_writes},
      {"sync_of_warp_only", sync_of_warp_only},
      {"shuffle_orders_nothing", shuffle_orders_nothing},
      {"room_used_again", room_used_again},
      {"plain_beside_atomic", plain_beside_atomic},
      {"read_beside_atomic", read_beside_atomic},
  };
  const cudaLaunchConfig_t c = launch_config(blocks, threads, shared);
  return cudaLaunchKernelEx(&c, kernels.at(name), x);  // launch of a fault
}

}  // namespace crisp::test
