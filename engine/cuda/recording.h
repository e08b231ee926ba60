// Steps as CUDA graphs: what is called between the begin and the end of a step (StepCalls) is recorded, and given to
// the device in pieces, each with one launch. A piece is recorded anew at each step, so numbers of rows, addresses and
// rates may be others each time; the executable graph of an earlier piece with the same nodes takes them over, which
// costs a fraction of making one.
//
// A recorded call is one that is put off: pieces run in the order of the calls, and whatever waits for the device, or
// asks it, has what was recorded run first. So nobody has to know of a recording, and an exception in the middle of a
// step needs nothing more than its end. Memory that is freed is used again in the order of the calls, as without.
#pragma once

#include <mutex>
#include <string_view>

#include "engine/backend.h"

#ifndef CRISP_CUDA_NAMESPACE
#define CRISP_CUDA_NAMESPACE cuda
#endif

namespace crisp::CRISP_CUDA_NAMESPACE {

/// While it lives calls are given to the device at once, after what had been recorded. Around all that waits for the
/// device or asks it: CUDA allows that of nothing that is being captured.
class AtOnce {
 public:
  AtOnce();
  ~AtOnce();
  AtOnce(const AtOnce&) = delete;
  AtOnce& operator=(const AtOnce&) = delete;
};

/// Held while something is put into the queues.
std::recursive_mutex& queue_mutex();

const Steps& steps();
/// What CRISP_CUDA_GRAPH asks for: nothing or "1" (graphs), "0" (calls), "whole" (one_graph). Throws UsageError for
/// other words.
StepMode step_mode_named(std::string_view word);

}  // namespace crisp::CRISP_CUDA_NAMESPACE
