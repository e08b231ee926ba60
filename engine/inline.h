// CRISP_INLINE marks the functions that kernels of every backend use: always inlined, so that no shared copy of them
// can leak from one instruction set's kernels to another's (engine/cpu/cpu_kernels.h), and compiled by nvcc for the
// host and for the GPU. A leaf header.
#pragma once

#if defined(__CUDACC__)
#define CRISP_INLINE __host__ __device__ __forceinline__
#else
#define CRISP_INLINE [[gnu::always_inline]] inline
#endif

/// The same behind a lambda's parameters, in the CPU's kernels.
#define CRISP_INLINED __attribute__((always_inline))
