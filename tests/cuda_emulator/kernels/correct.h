// Kernels without a fault: each is a pattern that engine/cuda will use.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace crisp::test {

/// out[b] = sum of x[b * 256 .. b * 256 + 255]; x [blocks * 256].
template <class T>
cudaError_t block_sums(cudaStream_t stream, unsigned blocks, const T* x, T* out);

/// kept[r, j] = 1 for the k largest of x[r, :], the earlier of equal ones, else 0; cols <= 128.
cudaError_t top_k(cudaStream_t stream, int rows, int cols, int k, const float* x, uint8_t* kept);

/// y = (x - mean) / sqrt(variance + epsilon) * weight + bias; x, y [rows, cols].
template <class T>
cudaError_t layer_norm(cudaStream_t stream, int rows, int cols, const T* x, const T* weight, const T* bias, T epsilon,
                       T* y);

/// x[i] = factor * x[i] + summand
cudaError_t scale(cudaStream_t stream, int n, float factor, float summand, float* x);

/// The order in which threads ran: order[i] is the thread, counted over the grid, that came i-th. count[0] is 0 before.
cudaError_t trace_order(cudaStream_t stream, unsigned blocks, unsigned threads, int* count, int* order);

/// Patterns that a hasty check would take for races: neighbouring bytes and halves of several threads, __syncwarp
/// within a warp, reads by all, integer atomics, a table of constants, three-dimensional blocks. x [64] becomes 2 *
/// thread + 3.
cudaError_t innocent(cudaStream_t stream, uint8_t* bytes, uint16_t* halves, int* count, float* x);

/// Good and bad patterns of access, one a line. x [32 * 32]; a warp runs.
cudaError_t access_patterns(float* x);

}  // namespace crisp::test
