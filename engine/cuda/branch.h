// A second queue: for products that nothing waits for before the end of a backward pass.
#pragma once

#include <cuda_runtime.h>

#ifndef CRISP_CUDA_NAMESPACE
#define CRISP_CUDA_NAMESPACE cuda
#endif

namespace crisp::CRISP_CUDA_NAMESPACE {

/// What is called on its stream() runs after all that was called before on the first queue, and beside what is called
/// there afterwards, until the next fork or join(). Memory that is freed meanwhile is used again after that only.
class Fork {
 public:
  Fork();
  ~Fork();
  Fork(const Fork&) = delete;
  Fork& operator=(const Fork&) = delete;
  cudaStream_t stream() const;
};

/// What is called on the first queue from now on runs after all that ran beside it.
void join() noexcept;
/// Whether something may run beside the first queue: not since the last join().
bool is_forked();

}  // namespace crisp::CRISP_CUDA_NAMESPACE
