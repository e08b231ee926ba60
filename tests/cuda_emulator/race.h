// The race and initialisation check: what orders accesses is told here, hooks.cpp tells of the accesses of kernels that
// were compiled with -fsanitize=thread. Without such kernels all of this does nothing.
//
// Time is one counter: launches, blocks, barriers and meetings of a warp each begin a new moment. An access happened
// before another if a moment lies between them that orders the two threads. For each byte of the device there is a cell
// with the last write and the last reads.
#pragma once

#include <cstddef>

#include "emulated/language.h"

namespace crisp::emulator::race {

/// Kernels of this program call the hooks.
void enable();
bool enabled();

void allocated(const void* p, size_t bytes);
void released(const void* p, size_t bytes);

void begin_launch();
void end_launch();
void begin_block();
void block_ordered();
void warp_ordered(unsigned warp);

enum class Access { read, write, atomic };
/// An access of the running thread by the instruction before `code`.
void access(const void* p, size_t bytes, Access kind, const void* code);

/// Accesses outside of kernels, which the order of commands orders.
void command_reads(const void* p, size_t bytes, Where where, const char* what);
void command_writes(const void* p, size_t bytes);

}  // namespace crisp::emulator::race
