// How kernels' accesses fit the hardware, counted where kernels are compiled with the check.
#pragma once

#include <cstddef>

namespace crisp::emulator::fit {
/// Accesses to come are this kernel's.
void begin_launch(const void* kernel);
/// An access of the running thread.
void note(const void* p, size_t bytes, const void* code);
/// The lanes of a warp, or all threads of the block, go on together.
void warp_met(unsigned warp);
void block_met();
/// No later access belongs to a request of the block that ran.
void end_block();
}  // namespace crisp::emulator::fit
