// What a user chooses of the machine: with which numbers, on which device. A leaf header: crisp.hpp shows it to host
// programs.
#pragma once

#include <cstdint>

namespace crisp {

/// What a user asks for. Weights, moments, gradients and activations are f64 for `f64`, else f32; the other words say
/// how f32 matrix products are computed (MatmulPrecision). `f32` takes the fastest way that is at least as accurate as
/// f32 products: bf16x6 on CPUs with AMX. `strict_f32` always takes f32 products, `tf32` those of GPUs that round
/// operands to 11 bits.
enum class Precision : uint8_t { f32, strict_f32, tf32, bf16, bf16x3, bf16x6, f64 };

/// What a user asks for; `automatic` is the GPU where there is one that can be used.
enum class DeviceChoice : uint8_t { cpu, cuda, automatic };

}  // namespace crisp
