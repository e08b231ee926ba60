// Scalar mathematics that the compiler can vectorise: branch-free, always inlined. The f64 versions call the standard
// library, so that gradient checks see exact values; the f32 versions state their error, measured over all of the range
// by tests/engine/test_math.cpp.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace crisp::CRISP_ISA {

#define CRISP_INLINE [[gnu::always_inline]] inline

CRISP_INLINE double vexp(double x) { return std::exp(x); }

/// e^x within 2 ulp; results below the smallest normal number become 0, above the largest infinity; NaN stays NaN.
CRISP_INLINE float vexp(float x) {
  // x = n ln 2 + r; adding and subtracting 1.5 * 2^23 rounds to an integer in every instruction set.
  const float limited = x < -88.0f ? -88.0f : (x > 89.0f ? 89.0f : x);
  const float n = (limited * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
  const float r = (limited - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 0.0013814437530440347f;  // fitted: relative error 3e-9
  p = p * r + 0.008368796812396644f;
  p = p * r + 0.04166839572171341f;
  p = p * r + 0.16666519972091953f;
  p = p * r + 0.4999999340370554f;
  p = (p * r) * r + r + 1.0f;
  // 2^n in two factors, so that neither leaves the exponent's range.
  const auto whole = static_cast<int32_t>(n);
  const int32_t half = whole >> 1;
  const float s = std::bit_cast<float>((half + 127) << 23) * p;
  const float y = std::bit_cast<float>((whole - half + 127) << 23) * s;
  const float bounded = x < -87.33654f ? 0.0f : y;
  return x == x ? bounded : x;
}

/// The normal distribution function Phi(x) and density phi(x), together because GELU's gradient needs both.
template <class T>
struct Normal {
  T cdf, density;
};

CRISP_INLINE Normal<double> normal_at(double x) {
  return {0.5 * std::erfc(x * -0.70710678118654752440), 0.39894228040143267794 * std::exp(-0.5 * x * x)};
}

/// Phi within a relative error of 6e-7, also in the negative tail (down to the smallest normal number). With
/// z = |x| / sqrt 2 and t = 1 / (1 + 0.4 z): erfc(z) = exp(-z^2) t Q(t), where Q is a polynomial fitted to
/// erfcx(z) / t (relative error 6e-9).
CRISP_INLINE Normal<float> normal_at(float x) {
  const float absolute = x < 0 ? -x : x;
  const float magnitude = absolute < 20.0f ? absolute : 20.0f;  // exp(-20^2/2) is 0 already
  const float z = magnitude * 0.70710678118654752f;
  const float t = 1.0f / (1.0f + 0.4f * z);
  float q = -0.02921521460027357f;
  q = q * t + 0.14044723170479304f;
  q = q * t + -0.23552842993980705f;
  q = q * t + 0.13756291809848378f;
  q = q * t + -0.046896368681631315f;
  q = q * t + 0.08391700983706873f;
  q = q * t + 0.11900810378791203f;
  q = q * t + 0.17173932375579853f;
  q = q * t + 0.20761372468358277f;
  q = q * t + 0.22567586038802984f;
  q = q * t + 0.22567583478693412f;
  // exp(-x^2/2) with the rounding error of the square put back: it would cost up to x^2/2 ulp. Splitting off the upper
  // 12 bits (Dekker) makes the error exact, with and without fused multiply-add.
  const float high = std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) & 0xfffff000u);
  const float square_high = high * high;
  const float rest = (magnitude - high) * (magnitude + high);
  const float square = square_high + rest;
  const float error = rest - (square - square_high);
  const float e = vexp(-0.5f * square) * (1.0f - 0.5f * error);
  const float tail = 0.5f * e * t * q;
  const bool number = x == x;
  return {x < 0 ? tail : (number ? 1.0f - tail : x), number ? 0.39894228040143268f * e : x};
}

}  // namespace crisp::CRISP_ISA
