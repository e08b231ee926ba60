// Moments in the queue by events, which the profile of kernels takes its times from.
#pragma once

#include "engine/backend.h"

#ifndef CRISP_CUDA_NAMESPACE
#define CRISP_CUDA_NAMESPACE cuda
#endif

namespace crisp::CRISP_CUDA_NAMESPACE {

/// Events are kept for the next moments.
const Moments& moments();

}  // namespace crisp::CRISP_CUDA_NAMESPACE
