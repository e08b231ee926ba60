// engine/cpu/simd/math.h over arrays, and thresholds of rows, compiled once per instruction set with the kernels'
// options.
#pragma once

#include <cstdint>

namespace crisp {

struct MathProbe {
  const char* isa;
  void (*exp)(int64_t n, const float* x, float* y);
  void (*exp_of_vectors)(int64_t n, const float* x, float* y);  // engine/cpu/simd/simd.h
  void (*erf)(int64_t n, const float* x, float* y);
  void (*normal)(int64_t n, const float* x, float* cdf, float* density);
  // engine/cpu/attention/thresholds.h: the k-th largest of each of rows of n, in chunks of rows as attention has them;
  // NaN where it is not found. Rows are n rounded up to 16 apart.
  void (*thresholds)(int64_t rows, int64_t chunk, int64_t n, int64_t k, const float* scores, float* limits);
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
