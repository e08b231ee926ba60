// Kernels with one fault each.
#pragma once

#include <cuda_runtime.h>

#include <string>

namespace crisp::test {
/// Launches the kernel of that name on `x`.
cudaError_t launch_fault(const std::string& name, unsigned blocks, unsigned threads, size_t shared, float* x);
}  // namespace crisp::test
