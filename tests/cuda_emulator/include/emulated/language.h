// The CUDA language on a host compiler. A block's threads are fibers of one system thread: they change places at
// barriers and at operations between lanes only, in an order that tests choose.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define CUDA_EMULATED 1
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
// No __shared__: such variables would be neither poisoned nor bounded. Shared memory is asked for at the launch.

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// Of the thread that runs. The scheduler writes them at each switch, which is always an opaque call.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace crisp::emulator {

/// A place in the source, taken where a default argument is evaluated.
struct Where {
  const char* file;
  int line;
};
#define CRISP_EMULATOR_WHERE ::crisp::emulator::Where where = {__builtin_FILE(), __builtin_LINE()}

/// What each lane of a warp gave to an operation between lanes.
struct Slot {
  alignas(16) unsigned char bytes[16];
};
/// All lanes meet here; each gives `bytes` and sees what the others gave, until its next meeting. `mask` must be full.
const Slot* meet(unsigned mask, const void* mine, size_t bytes, const char* what, Where where);
unsigned ballot(unsigned mask, bool vote, const char* what, Where where);
void warp_barrier(unsigned mask, Where where);
/// Returns for how many threads `predicate` is true.
int block_barrier(bool predicate, Where where);
unsigned lane();
/// The dynamic shared memory of the block that runs.
void* dynamic_shared();
/// Tells the race check of an atomic access to come, asked for before `code`.
void note_atomic(const void* address, size_t bytes, const void* code);

/// What `lane` gave.
template <class T>
T value_of(const Slot* slots, unsigned from) {
  static_assert(sizeof(T) <= sizeof(Slot));
  T value;
  std::memcpy(&value, slots[from].bytes, sizeof value);
  return value;
}

/// An access that is atomic and therefore not checked as a plain one; note_atomic() checks it.
template <class T, class Update>
__attribute__((noinline, no_sanitize("thread"))) T update_atomically(T* p, T operand, Update update) {
  note_atomic(p, sizeof(T), __builtin_return_address(0));
  const T old = *p;
  *p = update(old, operand);
  return old;
}
}  // namespace crisp::emulator

inline void __syncthreads(CRISP_EMULATOR_WHERE) { crisp::emulator::block_barrier(false, where); }
inline int __syncthreads_count(int predicate, CRISP_EMULATOR_WHERE) {
  return crisp::emulator::block_barrier(predicate != 0, where);
}
inline int __syncthreads_or(int predicate, CRISP_EMULATOR_WHERE) {
  return crisp::emulator::block_barrier(predicate != 0, where) > 0;
}
inline void __syncwarp(unsigned mask = ~0u, CRISP_EMULATOR_WHERE) { crisp::emulator::warp_barrier(mask, where); }

template <class T>
T __shfl_sync(unsigned mask, T v, int source, int width = 32, CRISP_EMULATOR_WHERE) {
  const auto* slots = crisp::emulator::meet(mask, &v, sizeof v, "__shfl_sync", where);
  const unsigned within = static_cast<unsigned>(width) - 1;
  return crisp::emulator::value_of<T>(slots,
                                      (crisp::emulator::lane() & ~within) | (static_cast<unsigned>(source) & within));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int distance, int width = 32, CRISP_EMULATOR_WHERE) {
  const auto* slots = crisp::emulator::meet(mask, &v, sizeof v, "__shfl_xor_sync", where);
  const unsigned self = crisp::emulator::lane(), from = self ^ static_cast<unsigned>(distance);
  const unsigned group = ~(static_cast<unsigned>(width) - 1);
  return (from & group) > (self & group) ? v : crisp::emulator::value_of<T>(slots, from);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned distance, int width = 32, CRISP_EMULATOR_WHERE) {
  const auto* slots = crisp::emulator::meet(mask, &v, sizeof v, "__shfl_down_sync", where);
  const unsigned self = crisp::emulator::lane(), size = static_cast<unsigned>(width);
  return (self & (size - 1)) + distance >= size ? v : crisp::emulator::value_of<T>(slots, self + distance);
}
template <class T>
T __shfl_up_sync(unsigned mask, T v, unsigned distance, int width = 32, CRISP_EMULATOR_WHERE) {
  const auto* slots = crisp::emulator::meet(mask, &v, sizeof v, "__shfl_up_sync", where);
  const unsigned self = crisp::emulator::lane();
  return (self & (static_cast<unsigned>(width) - 1)) < distance ? v
                                                                : crisp::emulator::value_of<T>(slots, self - distance);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, CRISP_EMULATOR_WHERE) {
  return crisp::emulator::ballot(mask, predicate != 0, "__ballot_sync", where);
}
inline int __any_sync(unsigned mask, int predicate, CRISP_EMULATOR_WHERE) {
  return crisp::emulator::ballot(mask, predicate != 0, "__any_sync", where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CRISP_EMULATOR_WHERE) {
  return crisp::emulator::ballot(mask, predicate != 0, "__all_sync", where) == mask;
}
/// The sum over all lanes.
inline unsigned __reduce_add_sync(unsigned mask, unsigned v, CRISP_EMULATOR_WHERE) {
  const auto* slots = crisp::emulator::meet(mask, &v, sizeof v, "__reduce_add_sync", where);
  unsigned sum = 0;
  for (unsigned from = 0; from < 32; ++from) sum += crisp::emulator::value_of<unsigned>(slots, from);
  return sum;
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((uint64_t{a} * b) >> 32); }
inline int __float_as_int(float x) {
  int bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float __int_as_float(int bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
T max(T a, T b) {
  return a < b ? b : a;
}

// For integers. Sums of floating-point numbers by atomics would depend on the order of threads, so they do not compile.
template <class T>
T atomicAdd(T* p, T v) {
  static_assert(T(1) / 2 == T(0), "no atomics on floating-point numbers");
  return crisp::emulator::update_atomically(p, v, [](T old, T operand) { return static_cast<T>(old + operand); });
}
template <class T>
T atomicMax(T* p, T v) {
  return crisp::emulator::update_atomically(p, v, [](T old, T operand) { return old > operand ? old : operand; });
}
template <class T>
T atomicOr(T* p, T v) {
  return crisp::emulator::update_atomically(p, v, [](T old, T operand) { return static_cast<T>(old | operand); });
}
