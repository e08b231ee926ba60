#include "engine/precision.h"

namespace crisp {
namespace {

MatmulPrecision current = MatmulPrecision::f32;

}  // namespace

const char* name_of(MatmulPrecision precision) {
  switch (precision) {
    case MatmulPrecision::bf16:
      return "bf16";
    case MatmulPrecision::bf16x3:
      return "bf16x3";
    case MatmulPrecision::bf16x6:
      return "bf16x6";
    case MatmulPrecision::f32:
      break;
  }
  return "f32";
}

bool supports(Device device, MatmulPrecision precision) {
  const Kernels<float>& k = backend(device).f32;
  switch (precision) {
    case MatmulPrecision::bf16:
      return k.gemm_bf16 != nullptr;
    case MatmulPrecision::bf16x3:
      return k.gemm_bf16x3 != nullptr;
    case MatmulPrecision::bf16x6:
      return k.gemm_bf16x6 != nullptr;
    case MatmulPrecision::f32:
      break;
  }
  return k.gemm != nullptr;
}

void set_matmul_precision(MatmulPrecision precision, Device device) {
  if (!supports(device, precision))
    fail<UsageError>("{} matrix products need {}, which this machine or this build lacks", name_of(precision),
                     precision == MatmulPrecision::bf16 ? "a CPU with AMX or avx512_bf16" : "a CPU with AMX");
  current = precision;
}

MatmulPrecision matmul_precision() { return current; }

}  // namespace crisp
