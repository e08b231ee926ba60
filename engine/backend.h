// A device's memory and its kernel tables.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/dtype.h"
#include "engine/error.h"
#include "engine/kernels.h"

namespace crisp {

enum class Device : uint8_t { cpu, cuda };

struct Backend {
  const char* name;
  void* (*allocate)(size_t bytes);
  void* (*allocate_zeroed)(size_t bytes);
  void (*free)(void* block) noexcept;
  void (*copy)(void* to, Device to_device, const void* from, Device from_device, size_t bytes);
  /// Whether its f32 products can be computed so.
  bool (*supports)(MatmulPrecision precision);
  const Kernels<float>& f32;
  const Kernels<double>& f64;
};

/// Throws Error where this build or this machine lacks the device.
const Backend& backend(Device device);
/// Makes the backend of a device known; it must stay. Throws Error where the device has another one already.
void register_backend(Device device, const Backend& backend);
/// "cpu", "cuda", or what its backend calls another device.
const char* name_of(Device device);
/// Copies between the memories of two devices, or within one's, of which one is the CPU if they differ. The two places
/// may overlap.
void copy_bytes(void* to, Device to_device, const void* from, Device from_device, size_t bytes);

/// The instruction set that the CPU kernels of this process use: "generic", "avx2" or "avx512". The best one that the
/// machine has, unless the environment variable CRISP_ISA names a smaller one.
const char* cpu_instruction_set();
/// What multiplies bf16 numbers on this CPU: "amx" (where amx_usable()), else "avx512_bf16", or "" where nothing does.
const char* cpu_bf16_unit();

/// Whether this process can use AMX: a CPU with amx-tile and amx-bf16, a system that permits it, and
/// cpu_instruction_set() "avx512". Then bf16, bf16x3 and bf16x6 products run there.
bool amx_usable();

template <ComputeElement T>
const Kernels<T>& kernels(Device device) {
  if constexpr (std::same_as<T, double>) {
    return backend(device).f64;
  } else {
    return backend(device).f32;
  }
}

}  // namespace crisp
