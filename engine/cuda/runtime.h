// The device as the kernel files see it: its queue, how kernels are launched, scratch memory.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

#ifndef CRISP_CUDA_NAMESPACE
#define CRISP_CUDA_NAMESPACE cuda
#endif

namespace crisp::CRISP_CUDA_NAMESPACE {

/// The queue of all kernels and copies, which run in the order in which they were called.
cudaStream_t stream();

/// Throws Error, "CUDA failed in WHAT: ..", unless the call succeeded.
void check(cudaError_t error, const char* what);

/// Lives around each call that puts something into the queue or into the one beside it: it may have to be recorded
/// (recording.h).
class Command {
 public:
  Command();

 private:
  const std::lock_guard<std::recursive_mutex> lock_;
};

constexpr int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

/// So many blocks of so many threads, each block with `shared` bytes of dynamic shared memory. Without blocks nothing
/// runs.
struct Grid {
  int64_t blocks;
  unsigned threads = 256;
  size_t shared = 0;
};

template <class... Parameters, class... Arguments>
void launch(const char* name, const Grid& grid, void (*kernel)(Parameters...), Arguments&&... arguments) {
  if (grid.blocks == 0) return;
  check(grid.blocks <= INT32_MAX ? cudaSuccess : cudaErrorInvalidConfiguration, name);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(grid.blocks));
  config.blockDim = dim3(grid.threads);
  config.dynamicSmemBytes = grid.shared;
  config.stream = stream();
  if (grid.shared > (size_t{48} << 10))
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(grid.shared)),
          name);
  const Command command;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), name);
}

/// Device memory for the kernels of one call, which need not be given back: valid until the thread's next scratch() in
/// the context in use (Context::Use). 256-byte aligned, full of anything.
void* scratch(size_t bytes);
template <class T>
T* scratch_of(int64_t n) {
  return static_cast<T*>(scratch(static_cast<size_t>(n) * sizeof(T)));
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
