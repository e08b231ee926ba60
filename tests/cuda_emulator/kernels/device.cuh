// What the tests' kernels share: the language helpers of the backend's own, and how they are launched.
#pragma once

#include "engine/cuda/kernels.cuh"

namespace crisp::test {

using namespace crisp::CRISP_CUDA_NAMESPACE;

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
