// Answers that the host reads later: small copies to pinned memory, each with an event behind it in the queue.
#pragma once

#include "engine/backend.h"

#ifndef CRISP_CUDA_NAMESPACE
#define CRISP_CUDA_NAMESPACE cuda
#endif

namespace crisp::CRISP_CUDA_NAMESPACE {

/// Pinned memory and events are kept for the next answers.
const Answers& answers();

}  // namespace crisp::CRISP_CUDA_NAMESPACE
