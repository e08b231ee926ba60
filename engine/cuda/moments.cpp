#include "engine/cuda/moments.h"

#include <cuda_runtime.h>

#include <mutex>
#include <vector>

#include "engine/cuda/recording.h"
#include "engine/cuda/runtime.h"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

struct Idle {
  std::mutex mutex;
  std::vector<cudaEvent_t> events;
  size_t made = 0;
};
Idle& idle() {
  static Idle& idle = *new Idle;
  return idle;
}

cudaEvent_t take_event() {
  Idle& kept = idle();
  const std::lock_guard lock(kept.mutex);
  cudaEvent_t event = nullptr;
  if (kept.events.empty()) {
    kept.events.reserve(++kept.made);  // so that giving it back does not throw
    check(cudaEventCreate(&event), "preparing to time kernels");
    return event;
  }
  event = kept.events.back();
  kept.events.pop_back();
  return event;
}

void forget(void* moment) noexcept {
  const std::lock_guard lock(idle().mutex);
  idle().events.push_back(static_cast<cudaEvent_t>(moment));
}

void* record() {
  const cudaEvent_t event = take_event();
  const AtOnce at_once;  // nothing says when an event of a graph comes
  const cudaError_t error = cudaEventRecord(event, stream());
  if (error != cudaSuccess) forget(event);
  check(error, "timing kernels");
  return event;
}

double seconds(void* begin, void* end) {
  float milliseconds = 0;
  check(cudaEventSynchronize(static_cast<cudaEvent_t>(end)), "waiting for kernels that are timed");
  check(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(begin), static_cast<cudaEvent_t>(end)),
        "timing kernels");
  return 1e-3 * static_cast<double>(milliseconds);
}

}  // namespace

const Moments& moments() {
  static const Moments by_events{.record = record, .seconds = seconds, .forget = forget};
  return by_events;
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
