// Where memory can lie and kernels can run. A leaf header.
#pragma once

#include <cstdint>

namespace crisp {

/// The last two hold no data and compute nothing: what stands in for the CPU and for a GPU where only the memory counts
/// (engine/meta/backend.h).
enum class Device : uint8_t { cpu, cuda, meta, meta_cuda };

/// "cpu", "cuda", or what its backend calls another device.
const char* name_of(Device device);

}  // namespace crisp
