// How f32 matrix products are computed: one setting for the process, as the number of threads is.
#pragma once

#include "engine/backend.h"

namespace crisp {

/// "f32", "bf16", "bf16x3", "bf16x6".
const char* name_of(MatmulPrecision precision);

/// Whether the device has kernels for it.
bool supports(Device device, MatmulPrecision precision);

/// For all following products of f32 tensors on `device`. Throws UsageError where the machine has no kernels for it.
void set_matmul_precision(MatmulPrecision precision, Device device = Device::cpu);
MatmulPrecision matmul_precision();

/// The kernel for the precision that is set; f64 products are always f64.
template <class T>
auto matmul_kernel(Device device) {
  const Kernels<T>& k = kernels<T>(device);
  if constexpr (sizeof(T) == 4) {
    switch (matmul_precision()) {
      case MatmulPrecision::bf16:
        return need(k.gemm_bf16, "gemm_bf16", device);
      case MatmulPrecision::bf16x3:
        return need(k.gemm_bf16x3, "gemm_bf16x3", device);
      case MatmulPrecision::bf16x6:
        return need(k.gemm_bf16x6, "gemm_bf16x6", device);
      case MatmulPrecision::f32:
        break;
    }
  }
  return need(k.gemm, "gemm", device);
}

}  // namespace crisp
