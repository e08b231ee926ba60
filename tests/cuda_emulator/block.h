// One block: its threads, barriers, and meetings of lanes.
#pragma once

#include "emulated/runtime_api.h"

namespace crisp::emulator {

constexpr unsigned most_threads = 1024;

/// Runs the block that blockIdx names. False when its threads wait for each other for ever, which is reported.
bool run_block(const ThreadCall& thread, size_t shared_bytes);

/// Of the thread that runs.
bool in_kernel();
unsigned current_thread();
bool on_own_stack(const void* p);

}  // namespace crisp::emulator
