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
    works[next]();
    done[next] = true;
  }
}

}  // namespace

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (!stream) return cudaErrorStreamCaptureUnsupported;  // the default stream cannot be captured
  stream->recording = std::make_shared<Recording>();
  stream->recording->origin = stream;
  stream->last.clear();
  return device_state();
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph, Where where) {
  *graph = nullptr;
  if (!stream || !stream->recording || stream->recording->origin != stream)
    return refuse(cudaErrorStreamCaptureUnmatched, where, "the capture was not begun in this stream");
  const std::shared_ptr<const Recording> recording = stream->recording;
  const size_t reached = count_reached(*recording, stream->last);
  end_capture(recording);
  if (reached != recording->nodes.size())
    return refuse(cudaErrorStreamCaptureUnjoined, where,
                  "the captured stream does not wait for " + std::to_string(recording->nodes.size() - reached) +
                      " commands of other streams");
  *graph = new CUgraph_st{recording};
  return device_state();
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{graph->recording};
  return device_state();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return enqueue(stream, {[recording = executable->recording]() -> Work {
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
