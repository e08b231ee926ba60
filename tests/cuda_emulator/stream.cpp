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

void run_later(CUstream_st& s, Work work) {
  s.queue.push_back(std::move(work));
  ++s.queued;
  if (!settings().deferred) s.advance(s.queued);
}

// The host may not ask for an event that a capture has recorded: nothing says when it comes.
cudaError_t refuse_captured(const char* call, const CUevent_st& event, Where where) {
  if (event.recording) {
    event.recording->is_valid = false;
    return refuse(cudaErrorCapturedEvent, where, std::string(call) + " of an event that was recorded in a capture");
  }
  return refuse_in_capture(call, where, Conflict::careful);
}

}  // namespace

size_t pick_branch(size_t ready) {
  if (settings().branches == Order::forward) return 0;
  return settings().branches == Order::reverse ? ready - 1 : static_cast<size_t>(random_below(ready));
}

cudaError_t enqueue(cudaStream_t stream, Command command) {
  CUstream_st& s = real(stream);
  if (device_state()) return device_state();
  if (s.recording) {
    if (!s.recording->is_valid) return cudaErrorStreamCaptureInvalidated;
    s.recording->nodes.push_back({std::move(command), s.last});
    s.last = {s.recording->nodes.size() - 1};
    return cudaSuccess;
  }
  run_later(s, command.prepare());
  return device_state();
}

void drain(cudaStream_t stream) { real(stream).advance(real(stream).queued); }

bool is_captured(cudaStream_t stream) { return real(stream).recording != nullptr; }
void invalidate_capture(cudaStream_t stream) { real(stream).recording->is_valid = false; }

cudaError_t refuse_in_capture(const char* call, Where where, Conflict conflict) {
  bool any = false;
  for (const cudaStream_t s : streams) {
    if (!s->recording || (conflict == Conflict::careful && s->recording->is_relaxed)) continue;
    s->recording->is_valid = false;
    any = true;
  }
  if (!any) return device_state();
  return refuse(cudaErrorStreamCaptureUnsupported, where, std::string(call) + " while a stream is captured");
}

void end_capture(const std::shared_ptr<Recording>& recording) {
  recording->has_ended = true;
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
    if (s->recording) s->recording->has_ended = true;
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
  if (CUstream_st& s = real(stream); s.recording) {
    s.recording->is_valid = false;
    return refuse(cudaErrorStreamCaptureUnsupported, where, "cudaStreamSynchronize of a stream that is captured");
  }
  if (const cudaError_t e = refuse_in_capture("cudaStreamSynchronize", where, Conflict::careful)) return e;
  ++counters().waits;
  drain(stream);
  return device_state();
}

cudaError_t cudaDeviceSynchronize(Where where) {
  if (const cudaError_t e =
          refuse_in_capture("cudaDeviceSynchronize or a call that implies it", where, Conflict::always))
    return e;
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
  if (device_state()) return device_state();
  if (s.recording) {
    if (!s.recording->is_valid) return cudaErrorStreamCaptureInvalidated;
    *event = {nullptr, 0, s.recording, s.last, event->timed};
    return device_state();
  }
  if (event->timed) {
    const auto reached = std::make_shared<std::optional<CUevent_st::Clock::time_point>>();
    run_later(s, [reached] { *reached = CUevent_st::Clock::now(); });
    event->reached = reached;
  }
  event->stream = &s;
  event->position = s.queued;
  event->recording = nullptr;
  event->nodes.clear();
  return device_state();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned, Where where) {
  CUstream_st& s = real(stream);
  if (device_state()) return device_state();
  const auto forbid = [&](cudaError_t error, const char* text) {
    for (Recording* recording : {s.recording.get(), event->recording.get()})
      if (recording) recording->is_valid = false;
    return refuse(error, where, text);
  };
  if (event->recording && event->recording->has_ended)
    return forbid(cudaErrorCapturedEvent, "a wait for an event that was recorded in a capture which has ended");
  if (event->recording) {  // the stream joins the capture
    if (s.recording && s.recording != event->recording)
      return forbid(cudaErrorStreamCaptureMerge, "a wait that would make two captures one");
    if (!event->recording->is_valid) return cudaErrorStreamCaptureInvalidated;
    if (s.recording != event->recording) s.last.clear();
    s.recording = event->recording;
    s.last.insert(s.last.end(), event->nodes.begin(), event->nodes.end());
    return device_state();
  }
  if (!event->stream) return device_state();  // never recorded
  if (s.recording)
    return forbid(cudaErrorStreamCaptureIsolation, "a captured stream waits for an event from outside of the capture");
  run_later(s, [from = event->stream, to = event->position] { from->advance(to); });
  return device_state();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event, Where where) {
  if (const cudaError_t e = refuse_captured("cudaEventSynchronize", *event, where)) return e;
  ++counters().waits;
  if (event->stream) event->stream->advance(event->position);
  return device_state();
}

// Each question lets one more command run, so that who asks in a loop comes to an end, and not at once.
cudaError_t cudaEventQuery(cudaEvent_t event, Where where) {
  if (const cudaError_t e = refuse_captured("cudaEventQuery", *event, where)) return e;
  if (!event->stream || event->stream->done >= event->position || device_state()) return device_state();
  event->stream->advance(event->stream->done + 1);
  return cudaErrorNotReady;
}

// As CUDA's, it does not wait.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end, Where where) {
  for (const cudaEvent_t event : {begin, end})
    if (event->recording) return refuse_captured("cudaEventElapsedTime", *event, where);
  if (!begin->reached || !end->reached) return cudaErrorInvalidResourceHandle;  // never recorded, or without a time
  if (!*begin->reached || !*end->reached) return device_state() ? device_state() : cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(**end->reached - **begin->reached).count();
  return device_state();
}
