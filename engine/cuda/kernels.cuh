// Shared by the kernel files (.cu): the elementary functions, sums within warps and blocks, loops over elements.
//
// A .cu file is compiled by nvcc and, for the emulator, by the host's compiler. Rules that make both possible, and
// results the same bit for bit whatever runs beside: every barrier is reached by all threads of a block and every
// operation between lanes by all 32, blocks are whole warps, shared memory is dynamic (shared_memory), blocks never
// wait for each other, and no sum of floating-point numbers uses atomics.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "engine/cuda/runtime.h"
#include "engine/cuda/tables.h"
#include "engine/formulas.h"
#include "engine/kernels.h"

namespace crisp::CRISP_CUDA_NAMESPACE {

/// The launch's dynamic shared memory.
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

/// The elementary functions (formulas.h): those of the device for each type.
struct Math {
  CRISP_INLINE static float exp(float x) { return ::expf(x); }
  CRISP_INLINE static double exp(double x) { return ::exp(x); }
  CRISP_INLINE static float log(float x) { return ::logf(x); }
  CRISP_INLINE static double log(double x) { return ::log(x); }
  CRISP_INLINE static float sqrt(float x) { return ::sqrtf(x); }
  CRISP_INLINE static double sqrt(double x) { return ::sqrt(x); }
  CRISP_INLINE static float tanh(float x) { return ::tanhf(x); }
  CRISP_INLINE static double tanh(double x) { return ::tanh(x); }
  CRISP_INLINE static float erf(float x) { return ::erff(x); }
  CRISP_INLINE static double erf(double x) { return ::erf(x); }
  /// Phi(x) and phi(x).
  CRISP_INLINE static formulas::Normal<float> normal(float x) {
    return {0.5f * ::erfcf(x * -0.70710678118654752440f), 0.39894228040143267794f * ::expf(-0.5f * x * x)};
  }
  CRISP_INLINE static formulas::Normal<double> normal(double x) { return formulas::StandardMath::normal(x); }
};

constexpr unsigned all_lanes = 0xffffffffu;
constexpr unsigned warp = 32;

/// The sum over a warp, for all lanes, in an order that depends on nothing.
template <class T>
__device__ __forceinline__ T warp_sum(T v) {
  for (int distance = 16; distance > 0; distance >>= 1) v += __shfl_xor_sync(all_lanes, v, distance);
  return v;
}
/// The largest of a warp; a NaN may be lost.
template <class T>
__device__ __forceinline__ T warp_max(T v) {
  for (int distance = 16; distance > 0; distance >>= 1) {
    const T other = __shfl_xor_sync(all_lanes, v, distance);
    v = v < other ? other : v;
  }
  return v;
}
/// The sum over a block, for all threads. `room`, in shared memory, holds an element a warp; it is free again once the
/// threads have met.
template <class T>
__device__ __forceinline__ T block_sum(T v, T* room) {
  v = warp_sum(v);
  if (threadIdx.x % warp == 0) room[threadIdx.x / warp] = v;
  __syncthreads();
  T sum = room[0];
  for (unsigned w = 1; w < blockDim.x / warp; ++w) sum += room[w];
  return sum;
}

/// The largest of a block, for all threads; a NaN may be lost. `room` as for block_sum().
template <class T>
__device__ __forceinline__ T block_max(T v, T* room) {
  v = warp_max(v);
  if (threadIdx.x % warp == 0) room[threadIdx.x / warp] = v;
  __syncthreads();
  T largest = room[0];
  for (unsigned w = 1; w < blockDim.x / warp; ++w) largest = largest < room[w] ? room[w] : largest;
  return largest;
}

/// This thread's number among all of the launch.
__device__ __forceinline__ int64_t thread_index() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

/// Of element i of an array of rows; by 32-bit division where that is enough, since the other kind takes many times as
/// long.
struct Cell {
  int64_t row, col;
};
__device__ __forceinline__ Cell cell_of(int64_t i, int64_t cols) {
  if (static_cast<uint64_t>(i | cols) >> 32) return {i / cols, i % cols};
  const auto small = static_cast<uint32_t>(i), width = static_cast<uint32_t>(cols);
  return {small / width, small % width};
}

/// The last of `count` parts that begins at `number` or before, in a list by increasing begins.
template <class Begin>
__device__ __forceinline__ int part_of(int64_t number, int count, Begin begin) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (begin(middle) <= number) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

/// out = value + beta out, where beta is 0 (then out is not read) or 1.
template <class T>
__device__ __forceinline__ void put(T& out, T value, double beta) {
  out = beta == 0 ? value : out + value;
}

template <class F>
__global__ void __launch_bounds__(256) element_loop(int64_t n, F f) {
  const int64_t i = thread_index();
  if (i < n) f(i);
}
/// f(i) for i in 0..n-1, a thread each. f is a lambda `[=] __device__(int64_t i) {..}`.
template <class F>
void for_elements(const char* name, int64_t n, F f) {
  launch(name, {.blocks = divide_up(n, 256)}, element_loop<F>, n, f);
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
