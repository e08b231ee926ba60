// What the system tells about this process.
#pragma once

#include <cstdint>
#include <optional>

namespace crisp {

/// Seconds since this process was started, to a hundredth; nothing where the system does not tell.
std::optional<double> process_age();
/// The most memory that it has had resident.
int64_t peak_resident_bytes();

}  // namespace crisp
