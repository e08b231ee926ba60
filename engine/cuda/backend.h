// A GPU as a backend: memory and kernels by CUDA, products by cublasLt, which is opened at run time.
#pragma once

#include "engine/backend.h"

// The tests compile this folder a second time, for the emulator of tests/cuda_emulator, under another name.
#ifndef CRISP_CUDA_NAMESPACE
#define CRISP_CUDA_NAMESPACE cuda
#endif

namespace crisp::CRISP_CUDA_NAMESPACE {

/// Asks nothing of the machine yet.
const Backend& backend();

}  // namespace crisp::CRISP_CUDA_NAMESPACE
