// Element types and the conversions between them. A leaf header: kernels and the safetensors code include it.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/bit_cast.h"

namespace crisp {

/// f16 and bf16 are storage only: they are converted on load and save.
enum class DType : uint8_t { f64, f32, bf16, f16, i32 };

constexpr size_t size_of(DType t) {
  switch (t) {
    case DType::f64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
    case DType::f16:
      return 2;
  }
  return 0;
}

constexpr std::string_view name_of(DType t) {
  switch (t) {
    case DType::f64:
      return "f64";
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::f16:
      return "f16";
    case DType::i32:
      return "i32";
  }
  return "?";
}

/// Bit patterns of the two 16-bit formats, as distinct types so that they cannot be mixed up with integers.
struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

inline float to_float(BFloat16 h) { return bit_cast<float>(static_cast<uint32_t>(h.bits) << 16); }

/// Rounds to nearest even; a NaN stays a (quiet) NaN.
inline BFloat16 to_bfloat16(float f) {
  const auto u = bit_cast<uint32_t>(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

/// IEEE 754 binary16, subnormals included.
inline float to_float(Float16 h) {
  const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000u) << 16;
  const uint32_t exponent = (h.bits >> 10) & 0x1fu;
  const uint32_t fraction = h.bits & 0x3ffu;
  if (exponent == 31) return bit_cast<float>(sign | 0x7f800000u | (fraction << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return bit_cast<float>(sign | ((exponent + 112u) << 23) | (fraction << 13));
}

/// Rounds to nearest even; overflow becomes infinity; a NaN stays a (quiet) NaN.
inline Float16 to_float16(float f) {
  const auto u = bit_cast<uint32_t>(f);
  const auto sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  const uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x1ffu))};
  if (magnitude >= 0x47800000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // 2^16 and above
  if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 aligns the subnormal's bits and rounds
    const float aligned = bit_cast<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (bit_cast<uint32_t>(aligned) - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<uint16_t>(sign | (rounded >> 13))};
}

template <class T, class... Types>
concept one_of = (std::same_as<T, Types> || ...);
/// What operations compute in.
template <class T>
concept ComputeElement = one_of<T, float, double>;
/// What a tensor can hold.
template <class T>
concept Element = ComputeElement<T> || one_of<T, int32_t, BFloat16, Float16>;

/// Of an Element; no other type has one.
template <Element T>
inline constexpr DType dtype_of = std::same_as<T, double>     ? DType::f64
                                  : std::same_as<T, float>    ? DType::f32
                                  : std::same_as<T, int32_t>  ? DType::i32
                                  : std::same_as<T, BFloat16> ? DType::bf16
                                                              : DType::f16;

}  // namespace crisp
