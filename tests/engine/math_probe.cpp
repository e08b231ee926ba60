#include "tests/engine/math_probe.h"

#include "engine/cpu/cpu_kernels.h"
#include "engine/cpu/simd/math.h"
#include "engine/cpu/simd/simd.h"

namespace crisp::CRISP_ISA {
namespace {

void exp_of(int64_t n, const float* x, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = Math::exp(x[i]);
}

void exp_of_vectors(int64_t n, const float* x, float* y) {
  for (int64_t i = 0; i < n; i += lanes<float>) {
    const int64_t count = min_of(lanes<float>, n - i);
    store_first(y + i, Math::exp(load_first(x + i, count)), count);
  }
}

void erf_of(int64_t n, const float* x, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = Math::erf(x[i]);
}

void normal_of(int64_t n, const float* x, float* cdf, float* density) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const formulas::Normal<float> at = Math::normal(x[i]);
    cdf[i] = at.cdf;
    density[i] = at.density;
  }
}

}  // namespace

MathProbe math_probe() {
#if defined(__AVX512F__)
  const char* const isa = "avx512";
#elif defined(__AVX2__)
  const char* const isa = "avx2";
#else
  const char* const isa = "generic";
#endif
  return {isa, exp_of, exp_of_vectors, erf_of, normal_of};
}

}  // namespace crisp::CRISP_ISA
