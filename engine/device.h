// Where memory can lie and kernels can run. A leaf header.
#pragma once

#include <cstdint>

namespace crisp {

enum class Device : uint8_t { cpu, cuda };

/// "cpu", "cuda", or what its backend calls another device.
const char* name_of(Device device);

}  // namespace crisp
