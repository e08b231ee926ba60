// With which numbers a program computes: what its user asks for, and the products (engine/context.h) that follow.
#pragma once

#include <string>

#include "engine/backend.h"

namespace crisp {

/// What a user asks for. Weights, moments, gradients and activations are f64 for `f64`, else f32; the other words say
/// how f32 matrix products are computed (MatmulPrecision). `f32` takes the fastest way that is at least as accurate as
/// f32 products: bf16x6 on CPUs with AMX. `strict_f32` always takes f32 products.
enum class Precision : uint8_t { f32, strict_f32, bf16, bf16x3, bf16x6, f64 };

/// "f32", "strict-f32", ...
const char* name_of(Precision precision);
/// "f32", "bf16", "bf16x3", "bf16x6".
const char* name_of(MatmulPrecision precision);

/// The type of a model's numbers.
DType dtype_for(Precision precision);

/// The products for `precision`. Throws UsageError, saying what is missing, where the device has no kernels for them.
MatmulPrecision products_for(Precision precision, Device device = Device::cpu);

/// Whether the device has kernels for it.
bool supports(Device device, MatmulPrecision precision);

/// The kernels that such products take, which decide the last bits of what is computed: cpu_instruction_set(), and
/// behind a "+" the cpu_bf16_unit() where it computes the products: "avx2", "avx512+amx", "avx512+avx512_bf16". The
/// spelling of every report and file.
std::string kernels_in_use(MatmulPrecision products);
/// What computes the products of a model, for people: "f32 products by avx512 kernels".
std::string describe_products(DType dtype, MatmulPrecision products);

}  // namespace crisp
