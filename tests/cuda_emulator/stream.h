// Streams, events and graphs: what is asked for runs when the host waits for it, as late as CUDA allows.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "emulated/runtime_api.h"

namespace crisp::emulator {

using Work = std::function<void()>;

/// What a node of a graph is.
enum class NodeKind { kernel, upload, download, copy, fill, graph };

/// Something to be done in a stream. `prepare` runs when it is queued (by a call, or by each launch of a graph that has
/// captured it) and gives what runs later.
struct Command {
  NodeKind kind = NodeKind::kernel;
  std::function<Work()> prepare = {};
  static Command always(NodeKind kind, Work work) {
    return {kind, [work = std::move(work)] { return work; }};
  }
};

/// A graph that is being captured from one or more streams, or is finished.
struct Recording {
  struct Node {
    Command command;
    std::vector<size_t> after;  // earlier nodes that it waits for
  };
  std::vector<Node> nodes;
  cudaStream_t origin = nullptr;
  bool is_relaxed = false;  // by its mode: calls are allowed that do not conflict with it by necessity
  bool is_valid = true;     // until something forbidden happens
  bool has_ended = false;
};

/// Into the stream, or into the graph that is captured from it.
cudaError_t enqueue(cudaStream_t stream, Command command);
/// Runs what the stream holds now.
void drain(cudaStream_t stream);
bool is_captured(cudaStream_t stream);
/// As CUDA does where something forbidden happens in a captured stream: it takes no more, and its graph is lost.
void invalidate_capture(cudaStream_t stream);
/// Calls that come while streams are captured.
enum class Conflict {
  always,   // it waits for the device: no capture allows it
  careful,  // no stream sees it, so a capture that is not relaxed forbids it
};
/// An error if the call is forbidden now; the captures that forbid it are invalid then, as CUDA has it.
cudaError_t refuse_in_capture(const char* call, Where where, Conflict conflict);
/// Streams of this capture run again.
void end_capture(const std::shared_ptr<Recording>& recording);
/// Drops what is queued, and captures.
void forget_streams();

/// The position among `ready` of the next to run, by the settings' order of branches.
size_t pick_branch(size_t ready);

}  // namespace crisp::emulator

struct CUstream_st {
  std::deque<crisp::emulator::Work> queue;
  uint64_t queued = 0, done = 0;
  std::shared_ptr<crisp::emulator::Recording> recording;  // while it is captured
  std::vector<size_t> last;                               // nodes of the recording that the next one waits for
  void advance(uint64_t to);
};
struct CUevent_st {
  cudaStream_t stream = nullptr;
  uint64_t position = 0;
  std::shared_ptr<crisp::emulator::Recording> recording;  // if it was recorded in a capture
  std::vector<size_t> nodes;
  bool timed = true;
  using Clock = std::chrono::steady_clock;
  std::shared_ptr<std::optional<Clock::time_point>> reached = nullptr;  // of a timed one, once it was recorded
};
