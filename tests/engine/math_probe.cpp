#include "tests/engine/math_probe.h"

#include <vector>

#include "engine/cpu/attention/thresholds.h"
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

void thresholds_of(int64_t rows, int64_t chunk, int64_t n, int64_t k, const float* scores, float* limits) {
  const int64_t stride = (n + 15) / 16 * 16;
  std::vector<float> memory(static_cast<size_t>((lanes<float> + 1) * (n + sorted_scores + lanes<float>)));
  ThresholdWindow around{0, 1};
  for (int64_t first = 0; first < rows; first += chunk) {
    for (int64_t r = first; r < min_of(rows, first + chunk); r += lanes<float>) {
      const int64_t here = min_of(lanes<float>, min_of(rows, first + chunk) - r);
      if (!(around.reach > 0)) around = {0, 1};
      const RowThresholds found = thresholds_of_rows([=](int64_t i) { return scores + (r + i) * stride; }, here, n,
                                                     0.5f, k, around, memory.data());
      for (int64_t i = 0; i < here; ++i) limits[r + i] = found.count[i] > 0 ? found.limit[i] : NAN;
    }
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
  return {isa, exp_of, exp_of_vectors, erf_of, normal_of, thresholds_of};
}

}  // namespace crisp::CRISP_ISA
