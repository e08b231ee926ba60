// engine/cpu/simd/math.h over arrays, compiled once per instruction set with the kernels' options.
#pragma once

#include <cstdint>

namespace crisp {

struct MathProbe {
  const char* isa;
  void (*exp)(int64_t n, const float* x, float* y);
  void (*exp_of_vectors)(int64_t n, const float* x, float* y);  // engine/cpu/simd/simd.h
  void (*erf)(int64_t n, const float* x, float* y);
  void (*normal)(int64_t n, const float* x, float* cdf, float* density);
};

namespace cpu_math_generic {
MathProbe math_probe();
}
namespace cpu_math_avx2 {
MathProbe math_probe();
}
namespace cpu_math_avx512 {
MathProbe math_probe();
}

}  // namespace crisp
