// With which numbers a program computes: what its user asks for, and the products (engine/context.h) that follow.
#pragma once

#include <string>

#include "engine/backend.h"

namespace crisp {

/// What a user asks for. Weights, moments, gradients and activations are f64 for `f64`, else f32; the other words say
/// how f32 matrix products are computed (MatmulPrecision). `f32` takes the fastest way that is at least as accurate as
/// f32 products: bf16x6 on CPUs with AMX. `strict_f32` always takes f32 products, `tf32` those of GPUs that round
/// operands to 11 bits.
enum class Precision : uint8_t { f32, strict_f32, tf32, bf16, bf16x3, bf16x6, f64 };

constexpr Precision all_precisions[] = {Precision::f32,    Precision::strict_f32, Precision::tf32, Precision::bf16,
                                        Precision::bf16x3, Precision::bf16x6,     Precision::f64};

/// "f32", "strict-f32", ...
const char* name_of(Precision precision);

/// The type of a model's numbers.
DType dtype_for(Precision precision);

/// The products for `precision`. Throws UsageError, saying what is missing, where the device has no kernels for them.
MatmulPrecision products_for(Precision precision, Device device);

/// What computes the products of a model, for people: "f32 products by avx512 kernels".
std::string describe_products(DType dtype, MatmulPrecision products, Device device);

}  // namespace crisp
