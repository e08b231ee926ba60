// With which numbers a program computes: what its user asks for, and the products (engine/context.h) that follow.
#pragma once

#include <string>

#include "engine/backend.h"
#include "train/inference/choices.h"

namespace crisp {

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
