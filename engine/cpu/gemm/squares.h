// Sums of squares of what a product has in registers, in f64.
#pragma once

#include "engine/cpu/simd/simd.h"

namespace crisp::CRISP_ISA {

// The sum over the lanes, in f64.
CRISP_INLINE double lane_sum(Vec<double> v) {
  double sum = 0;
  for (int i = 0; i < lanes<double>; ++i) sum += v[i];
  return sum;
}
// sum + x^2, each lane in f64.
CRISP_INLINE Vec<double> add_squares(Vec<double> sum, Vec<double> x) { return sum + x * x; }
CRISP_INLINE Vec<double> add_squares(Vec<double> sum, Vec<float> x) {
  typedef float Half __attribute__((vector_size(vector_bytes / 2)));
  const auto halves = reinterpret_cast<const Half*>(&x);
  const auto low = __builtin_convertvector(halves[0], Vec<double>);
  const auto high = __builtin_convertvector(halves[1], Vec<double>);
  return sum + low * low + high * high;
}

}  // namespace crisp::CRISP_ISA
