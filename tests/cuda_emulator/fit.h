// How kernels' accesses fit the hardware, counted where kernels are compiled with the check.
#pragma once

#include <cstddef>

namespace crisp::emulator::fit {
/// An access of the running thread.
void note(const void* p, size_t bytes, const void* code);
/// No later access belongs to a request of the block that ran.
void end_block();
}  // namespace crisp::emulator::fit
