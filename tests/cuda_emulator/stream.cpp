#include "tests/cuda_emulator/stream.h"

#include <algorithm>
#include <string>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/findings.h"
#include "tests/cuda_emulator/memory.h"

namespace crisp::emulator {
namespace {

CUstream_st default_stream;
std::vector<cudaStream_t> streams{&default_stream};

CUstream_st& real(cudaStream_t stream) { return stream ? *stream : default_stream; }

}  // namespace

size_t pick_branch(size_t ready) {
  if (settings().branches == Order::forward) return 0;
  return settings().branches == Order::reverse ? ready - 1 : static_cast<size_t>(random_below(ready));
}

cudaError_t enqueue(cudaStream_t stream, Command command) {
  CUstream_st& s = real(stream);
  if (device_state()) return device_state();
  if (s.recording) {
    s.recording->nodes.push_back({std::move(command), s.last});
    s.last = {s.recording->nodes.size() - 1};
    return cudaSuccess;
  }
  s.queue.push_back(command.prepare());
  ++s.queued;
  if (!settings().deferred) s.advance(s.queued);
  return device_state();
}

void drain(cudaStream_t stream) { real(stream).advance(real(stream).queued); }

bool is_captured(cudaStream_t stream) { return real(stream).recording != nullptr; }

cudaError_t refuse_in_capture(const char* call, Where where) {
  if (std::none_of(streams.begin(), streams.end(), [](cudaStream_t s) { return s->recording != nullptr; }))
    return device_state();
  return refuse(cudaErrorStreamCaptureUnsupported, where, std::string(call) + " while a stream is captured");
}

void end_capture(const std::shared_ptr<const Recording>& recording) {
  for (cudaStream_t s : streams)
    if (s->recording == recording) {
      s->recording = nullptr;
      s->last.clear();
    }
}

void forget_streams() {
  for (cudaStream_t s : streams) {
    s->queue.clear();
    s->done = s->queued;
    s->recording = nullptr;
    s->last.clear();
  }
}

}  // namespace crisp::emulator

using namespace crisp::emulator;

void CUstream_st::advance(uint64_t to) {
  if (done >= to || queue.empty() || device_state()) return;
  const DeviceAccess access;
  while (done < to && !queue.empty() && !device_state()) {
    const Work work = std::move(queue.front());
    queue.pop_front();
    work();
    ++done;
  }
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = new CUstream_st;
  streams.push_back(*stream);
  return device_state();
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return cudaStreamCreate(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  drain(stream);
  std::erase(streams, stream);
  delete stream;
  return device_state();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream, Where where) {
  if (const cudaError_t e = refuse_in_capture("cudaStreamSynchronize", where)) return e;
  ++counters().waits;
  drain(stream);
  return device_state();
}

cudaError_t cudaDeviceSynchronize(Where where) {
  if (const cudaError_t e = refuse_in_capture("cudaDeviceSynchronize or a call that implies it", where)) return e;
  ++counters().waits;
  std::vector<cudaStream_t> waiting = streams;
  while (!waiting.empty()) {
    const auto next = waiting.begin() + static_cast<std::ptrdiff_t>(pick_branch(waiting.size()));
    drain(*next);
    waiting.erase(next);
  }
  return device_state();
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st;
  return device_state();
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const cudaError_t e = cudaEventCreate(event);
  (*event)->timed = (flags & cudaEventDisableTiming) == 0;
  return e;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return device_state();
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  CUstream_st& s = real(stream);
  event->reached = nullptr;
  if (s.recording) {
    *event = {nullptr, 0, s.recording, s.last, event->timed};
    return device_state();
  }
  if (event->timed) {
    const auto reached = std::make_shared<std::optional<CUevent_st::Clock::time_point>>();
    if (const cudaError_t e = enqueue(stream, Command::always([reached] { *reached = CUevent_st::Clock::now(); })))
      return e;
    event->reached = reached;
  }
  event->stream = &s;
  event->position = s.queued;
  event->recording = nullptr;
  event->nodes.clear();
  return device_state();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  CUstream_st& s = real(stream);
  if (event->recording) {  // the stream joins the capture
    if (s.recording != event->recording) s.last.clear();
    s.recording = event->recording;
    s.last.insert(s.last.end(), event->nodes.begin(), event->nodes.end());
    return device_state();
  }
  return enqueue(stream, Command::always([from = event->stream, to = event->position] {
                   if (from) from->advance(to);
                 }));
}

cudaError_t cudaEventSynchronize(cudaEvent_t event, Where where) {
  if (const cudaError_t e = refuse_in_capture("cudaEventSynchronize", where)) return e;
  ++counters().waits;
  if (event->stream) event->stream->advance(event->position);
  return device_state();
}

// Each question lets one more command run, so that who asks in a loop comes to an end, and not at once.
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (!event->stream || event->stream->done >= event->position || device_state()) return device_state();
  event->stream->advance(event->stream->done + 1);
  return cudaErrorNotReady;
}

// As CUDA's, it does not wait.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  if (!begin->reached || !end->reached) return cudaErrorInvalidResourceHandle;  // never recorded, or without a time
  if (!*begin->reached || !*end->reached) return device_state() ? device_state() : cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(**end->reached - **begin->reached).count();
  return device_state();
}
