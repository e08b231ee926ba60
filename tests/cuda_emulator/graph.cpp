// Captures and graphs. A graph's nodes run in any order that their dependencies allow.
#include <string>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/findings.h"
#include "tests/cuda_emulator/stream.h"

using namespace crisp::emulator;

struct CUgraph_st {
  std::shared_ptr<const Recording> recording;
};
struct CUgraphExec_st {
  std::shared_ptr<const Recording> recording;
};

namespace {

// How many nodes are among `last` and what these wait for.
size_t count_reached(const Recording& recording, const std::vector<size_t>& last) {
  std::vector<bool> reached(recording.nodes.size());
  for (const size_t node : last) reached[node] = true;
  size_t count = 0;
  for (size_t node = recording.nodes.size(); node-- > 0;) {
    if (!reached[node]) continue;
    ++count;
    for (const size_t earlier : recording.nodes[node].after) reached[earlier] = true;
  }
  return count;
}

void run_graph(const Recording& recording, const std::vector<Work>& works) {
  const auto& nodes = recording.nodes;
  std::vector<bool> done(nodes.size());
  const auto may_run = [&](size_t node) {
    bool may = !done[node];
    for (const size_t earlier : nodes[node].after) may = may && done[earlier];
    return may;
  };
  std::vector<size_t> ready;
  while (!device_state()) {
    ready.clear();
    for (size_t node = 0; node < nodes.size(); ++node)
      if (may_run(node)) ready.push_back(node);
    if (ready.empty()) return;
    const size_t next = ready[pick_branch(ready.size())];
    const uint64_t before = counters().launches;
    works[next]();
    counters().graph_kernels += counters().launches - before;
    done[next] = true;
  }
}

// Whether the one may take the place of the other: nodes and what they wait for must be the same, in the order of their
// capture, and each node of its kind. A kernel may become another one, and a copy one of other bytes.
cudaGraphExecUpdateResult compare(const Recording& old, const Recording& now) {
  if (old.nodes.size() != now.nodes.size()) return cudaGraphExecUpdateErrorTopologyChanged;
  for (size_t i = 0; i < now.nodes.size(); ++i) {
    if (old.nodes[i].after != now.nodes[i].after) return cudaGraphExecUpdateErrorTopologyChanged;
    const NodeKind a = old.nodes[i].command.kind, b = now.nodes[i].command.kind;
    if (a == b) continue;
    const auto copies = [](NodeKind kind) {
      return kind == NodeKind::upload || kind == NodeKind::download || kind == NodeKind::copy;
    };
    return copies(a) && copies(b) ? cudaGraphExecUpdateErrorParametersChanged : cudaGraphExecUpdateErrorNodeTypeChanged;
  }
  return cudaGraphExecUpdateSuccess;
}

}  // namespace

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode, Where where) {
  if (!stream) return refuse(cudaErrorStreamCaptureUnsupported, where, "the default stream cannot be captured");
  if (stream->recording) return refuse(cudaErrorIllegalState, where, "the stream is captured already");
  stream->recording = std::make_shared<Recording>();
  stream->recording->origin = stream;
  stream->recording->is_relaxed = mode == cudaStreamCaptureModeRelaxed;
  stream->last.clear();
  return device_state();
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph, Where where) {
  *graph = nullptr;
  if (!stream || !stream->recording || stream->recording->origin != stream)
    return refuse(cudaErrorStreamCaptureUnmatched, where, "the capture was not begun in this stream");
  const std::shared_ptr<Recording> recording = stream->recording;
  const size_t reached = count_reached(*recording, stream->last);
  end_capture(recording);
  if (!recording->is_valid) return fail_call(cudaErrorStreamCaptureInvalidated);  // what did it was found
  if (reached != recording->nodes.size())
    return refuse(cudaErrorStreamCaptureUnjoined, where,
                  "the captured stream does not wait for " + std::to_string(recording->nodes.size() - reached) +
                      " commands of other streams");
  *graph = new CUgraph_st{recording};
  return device_state();
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  if (nodes) return fail_call(cudaErrorInvalidValue);
  *count = graph->recording->nodes.size();
  return device_state();
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  ++counters().graph_instances;
  *executable = new CUgraphExec_st{graph->recording};
  return device_state();
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t executable, cudaGraph_t graph, cudaGraphExecUpdateResultInfo* info) {
  *info = {compare(*executable->recording, *graph->recording), nullptr, nullptr};
  if (info->result != cudaGraphExecUpdateSuccess) return fail_call(cudaErrorGraphExecUpdateFailure);
  ++counters().graph_updates;
  executable->recording = graph->recording;
  return device_state();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (!is_captured(stream)) ++counters().graph_launches;
  return enqueue(stream, {NodeKind::graph, [recording = executable->recording]() -> Work {
                            std::vector<Work> works;
                            for (const auto& node : recording->nodes) works.push_back(node.command.prepare());
                            return [recording, works = std::move(works)] { run_graph(*recording, works); };
                          }});
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return device_state();
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return device_state();
}
