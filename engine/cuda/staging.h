// Copies between the host's memory and the device's. Those to the device go through pinned memory that the host does
// not wait for.
#pragma once

#include <cstddef>

#ifndef CRISP_CUDA_NAMESPACE
#define CRISP_CUDA_NAMESPACE cuda
#endif

namespace crisp::CRISP_CUDA_NAMESPACE {

/// Ordered on the queue. The host's memory may change as soon as the call returns. Only copies of more than a MiB make
/// the host wait.
void copy_to_device(void* to, const void* from, size_t bytes);
/// Waits for all kernels before. Throws Error where one of them failed.
void copy_to_host(void* to, const void* from, size_t bytes);
/// Within the device; the places may overlap.
void copy_within(void* to, const void* from, size_t bytes);

}  // namespace crisp::CRISP_CUDA_NAMESPACE
