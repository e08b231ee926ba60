// Mathematics that the compiler can vectorise: branch-free, always inlined. The f64 versions call the standard library,
// so that gradient checks see exact values; the f32 versions state their error, measured over all of the range by
// tests/engine/test_math.cpp, on every instruction set.
#pragma once

#include <cmath>
#include <cstdint>

#include "engine/bit_cast.h"
#include "engine/cpu/simd/simd.h"
#include "engine/formulas.h"

namespace crisp::CRISP_ISA {

namespace detail {

// Adding 1.5 * 2^23 rounds a number of moderate size to an integer, in every instruction set; the sum's lowest bits are
// that integer, and shifting them left by 23 gives what must be added to a float's bits to multiply it by 2^integer:
// as unsigned numbers, since arguments beyond the range, whose result is not used, make the sum overflow.
constexpr float rounder = 12582912.0f;
constexpr float log2_e = 1.44269504088896341f;
constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;  // n * ln2_high is exact

// e^x for V = float with U = uint32_t, and for vectors of them. See Math::exp(float).
template <class V, class U>
CRISP_INLINE V exp_f32(V x) {
  const V shifted = x * log2_e + rounder;
  const V n = shifted - rounder;
  const V r = (x - n * ln2_high) - n * ln2_low;
  V p = 0.0013814437530440347f * r + 0.008368796812396644f;  // fitted: relative error 3e-9
  p = p * r + 0.04166839572171341f;
  p = p * r + 0.16666519972091953f;
  p = p * r + 0.4999999340370554f;
  p = (p * r) * r + r + 1.0f;
  // p 2^n: from -87.33654 on a normal number, up to 88.72283 a finite one (there n = 128, but p < 1).
  const V y = bit_cast<V>(bit_cast<U>(p) + (bit_cast<U>(shifted) << 23));
  const V bounded = x < -87.33654f ? V{} : y;
  return x <= 88.72283f ? bounded : x * INFINITY;  // a NaN goes this way, too
}

// What x * x loses by rounding.
CRISP_INLINE float square_error(float x, float square) {
#ifdef __FP_FAST_FMAF
  return __builtin_fmaf(x, x, -square);
#else
  // Dekker: the upper 12 bits have an exact square, and the rest is small.
  const float high = bit_cast<float>(bit_cast<uint32_t>(x) & 0xfffff000u);
  return (high * high - square) + (x - high) * (x + high);
#endif
}

// 1 - Phi(a) and exp(-a^2/2) for a >= 0; both 0 beyond 13.2, where they leave the normal numbers.
struct NormalTail {
  float tail, exponential;
};

CRISP_INLINE NormalTail normal_tail(float a) {
  // With t = 1 / (1 + 0.26 a), (1 - Phi(a)) exp(a^2/2) = t Q(t): Q is fitted, with a relative error of 2e-8.
  const float t = 1.0f / (1.0f + 0.26f * a);
  float q = 0.030896132934478453f;
  q = q * t + -0.15474041943612532f;
  q = q * t + 0.25546702763395696f;
  q = q * t + -0.15553636026090278f;
  q = q * t + 0.16415276152706068f;
  q = q * t + 0.04964235591829904f;
  q = q * t + 0.10339137227331759f;
  q = q * t + 0.10296492812392236f;
  q = q * t + 0.1037621911130005f;
  // As exp_f32, but the argument is never positive, and the rounding error of the square is put back: it would cost up
  // to a^2/2 ulp.
  const float square = a * a;
  const float shifted = square * (-0.5f * log2_e) + rounder;
  const float n = shifted - rounder;
  const float r = ((-0.5f * square - n * ln2_high) - n * ln2_low) - 0.5f * square_error(a, square);
  float p = 0.00831252f * r + 0.04189016f;  // fitted: relative error 1e-7
  p = p * r + 0.16667115f;
  p = p * r + 0.49999231f;
  p = (p * r) * r + r + 1.0f;
  const float y = bit_cast<float>(bit_cast<uint32_t>(p) + (bit_cast<uint32_t>(shifted) << 23));
  const float e = a > 13.2f ? 0.0f : y;
  return {e * (t * q), e};
}

}  // namespace detail

/// The elementary functions that formulas are compiled with (engine/formulas.h).
struct Math : formulas::StandardMath {
  using StandardMath::erf, StandardMath::exp, StandardMath::normal;

  /// e^x within 2 ulp; results below the smallest normal number become 0, above the largest infinity; NaN stays NaN.
  CRISP_INLINE static float exp(float x) { return detail::exp_f32<float, uint32_t>(x); }
  CRISP_INLINE static Vec<float> exp(Vec<float> x) { return detail::exp_f32<Vec<float>, Vec<uint32_t>>(x); }
  CRISP_INLINE static Vec<double> exp(Vec<double> x) {
    for (int i = 0; i < lanes<double>; ++i) x[i] = std::exp(x[i]);
    return x;
  }

  /// Phi within 8 ulp, also in the negative tail (down to the smallest normal number), and phi within 3; NaN stays NaN.
  CRISP_INLINE static formulas::Normal<float> normal(float x) {
    const detail::NormalTail n = detail::normal_tail(x < 0 ? -x : x);
    return {x < 0 ? n.tail : 1.0f - n.tail, x == x ? 0.39894228040143268f * n.exponential : x};
  }

  /// erf(x) within 3 ulp; NaN stays NaN.
  CRISP_INLINE static float erf(float x) {
    const float a = x < 0 ? -x : x;
    const float square = x * x;
    float p = 7.853859998526153e-05f;  // erf(x) / x for |x| < 1: relative error 1e-9
    p = p * square + -0.0008010193214895121f;
    p = p * square + 0.005188327638998693f;
    p = p * square + -0.02685381191066389f;
    p = p * square + 0.11283585148023953f;
    p = p * square + -0.37612625824180984f;
    p = p * square + 1.1283791657267024f;
    const float far = 1.0f - 2.0f * detail::normal_tail(a * 1.41421356237309505f).tail;
    return a < 1.0f ? x * p : (x < 0 ? -far : far);
  }
};

}  // namespace crisp::CRISP_ISA
