// Captures and graphs: what they run, what may change in them, what is refused and named.
#include <cmath>
#include <functional>

#include "tests/cuda_emulator/streams.h"

using namespace crisp;
using namespace crisp::test;
using emulator::Order;

namespace {

cudaGraph_t captured_graph(cudaStream_t s, const std::function<void()>& commands) {
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  commands();
  REQUIRE(cudaStreamEndCapture(s, &graph) == cudaSuccess);
  return graph;
}

cudaGraphExec_t captured(cudaStream_t s, const std::function<void()>& commands) {
  const cudaGraph_t graph = captured_graph(s, commands);
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  return executable;
}

// Changes the executable to what the commands are; the result says why not.
cudaGraphExecUpdateResult update(cudaGraphExec_t executable, cudaStream_t s, const std::function<void()>& commands) {
  const cudaGraph_t graph = captured_graph(s, commands);
  cudaGraphExecUpdateResultInfo info{};
  const cudaError_t error = cudaGraphExecUpdate(executable, graph, &info);
  CHECK(error == (info.result == cudaGraphExecUpdateSuccess ? cudaSuccess : cudaErrorGraphExecUpdateFailure));
  CHECK(cudaGetLastError() == error);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  return info.result;
}

// A capture that `forbidden` spoils: what is called afterwards is refused, and its end gives no graph. Then the stream
// works as before.
void check_spoiled(cudaStreamCaptureMode mode, const std::function<void(cudaStream_t)>& forbidden) {
  const CudaStream s;
  const DeviceArray<float> x(std::vector<float>(n, 1.0f));
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamBeginCapture(s, mode) == cudaSuccess);
  CHECK(scale(s, n, 5, 0, x.get()) == cudaSuccess);
  forbidden(s);
  CHECK(emulator::take_findings().size() == 1);
  CHECK(scale(s, n, 5, 0, x.get()) == cudaErrorStreamCaptureInvalidated);
  CHECK(cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(graph == nullptr);
  CHECK(scale(s, n, 2, 0, x.get()) == cudaSuccess);
  CHECK(cudaStreamSynchronize(s) == cudaSuccess);
  CHECK(x.values()[0] == 2.0f);
  CHECK(emulator::take_findings().empty());
}

}  // namespace

TEST_CASE("a captured graph replayed gives the bits of the direct run") {
  const Fresh fresh;
  const CudaStream s;
  Step step;
  step.in.fill(1);
  step.run(s);
  CHECK(cudaStreamSynchronize(s) == cudaSuccess);
  const auto first = step.out.values();
  step.in.fill(-3);
  step.run(s);
  CHECK(cudaStreamSynchronize(s) == cudaSuccess);
  const auto second = step.out.values();
  CHECK(!same(first, second));

  emulator::counters() = {};
  cudaGraphExec_t graph = captured(s, [&] { step.run(s); });
  CHECK(emulator::counters().launches == 0);
  for (int replay = 0; replay < 2; ++replay)
    for (const auto& [start, want] : {std::pair{1.0f, &first}, {-3.0f, &second}}) {
      step.in.fill(start);
      CHECK(cudaGraphLaunch(graph, s) == cudaSuccess);
      CHECK(std::isnan(step.out.get()[0]));
      CHECK(cudaStreamSynchronize(s) == cudaSuccess);
      CHECK(same(step.out.values(), *want));
    }
  CHECK(emulator::counters().launches == 8);
  CHECK(emulator::counters().waits == 4);
  CHECK(emulator::take_findings().empty());

  // The buffer of a graph that has not run must stay, too.
  CHECK(cudaGraphLaunch(graph, s) == cudaSuccess);
  step.in.fill(8);
  CHECK(cudaStreamSynchronize(s) == cudaSuccess);
  CHECK(emulator::take_findings().size() == 1);
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
}

TEST_CASE("branches of a graph run in any order, joined ones after both") {
  const Fresh fresh;
  const CudaStream s, branch;
  const CudaEvent fork, join;
  const DeviceArray<float> x(std::vector<float>(n, 1.0f)), y(std::vector<float>(n, 1.0f));
  const bool forgets = GENERATE(false, true);  // to wait for the branch
  cudaGraphExec_t graph = captured(s, [&] {
    CHECK(scale(s, n, 2, 0, x.get()) == cudaSuccess);
    CHECK(cudaEventRecord(fork, s) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(branch, fork) == cudaSuccess);
    CHECK(scale(branch, n, 3, 0, x.get()) == cudaSuccess);  // 6 or, after the other branch, ...
    if (forgets) CHECK(scale(s, n, 1, 1, x.get()) == cudaSuccess);
    CHECK(cudaEventRecord(join, branch) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(s, join) == cudaSuccess);
    if (!forgets) CHECK(scale(s, n, 1, 1, x.get()) == cudaSuccess);
  });
  const auto run = [&](Order order) {
    emulator::settings().branches = order;
    const std::vector<float> ones(n, 1.0f);
    CHECK(cudaMemcpy(x.get(), ones.data(), bytes, cudaMemcpyHostToDevice) == cudaSuccess);
    CHECK(cudaGraphLaunch(graph, s) == cudaSuccess);
    CHECK(cudaStreamSynchronize(s) == cudaSuccess);
    return x.values()[0];
  };
  CHECK(run(Order::forward) == 7.0f);
  CHECK(run(Order::reverse) == (forgets ? 9.0f : 7.0f));
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
}

TEST_CASE("what cannot be captured is refused, and spoils the capture") {
  const Fresh fresh;
  const CudaEvent outside, inside;
  const CudaStream other;
  const DeviceArray<float> x(std::vector<float>(n, 1.0f));
  std::vector<float> host(n);
  void* p = nullptr;
  CHECK(scale(other, n, 1, 1, x.get()) == cudaSuccess);
  CHECK(cudaEventRecord(outside, other) == cudaSuccess);
  const auto refused = [](cudaError_t error) { CHECK(error == cudaErrorStreamCaptureUnsupported); };
  for (const auto mode : {cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed}) {
    check_spoiled(mode, [&](cudaStream_t s) { refused(cudaStreamSynchronize(s)); });
    check_spoiled(mode, [&](cudaStream_t) { refused(cudaDeviceSynchronize()); });
    check_spoiled(mode, [&](cudaStream_t) { refused(cudaFree(x.get())); });
    check_spoiled(
        mode, [&](cudaStream_t s) { refused(cudaMemcpyAsync(host.data(), x.get(), 4, cudaMemcpyDeviceToHost, s)); });
    check_spoiled(
        mode, [&](cudaStream_t s) { refused(cudaMemcpyAsync(x.get(), host.data(), 4, cudaMemcpyHostToDevice, s)); });
    check_spoiled(mode, [&](cudaStream_t) { refused(cudaMemcpy(host.data(), x.get(), 4, cudaMemcpyDeviceToHost)); });
    check_spoiled(mode, [&](cudaStream_t s) {
      CHECK(cudaEventRecord(inside, s) == cudaSuccess);
      CHECK(cudaEventQuery(inside) == cudaErrorCapturedEvent);
    });
    check_spoiled(mode, [&](cudaStream_t s) {
      CHECK(cudaEventRecord(inside, s) == cudaSuccess);
      CHECK(cudaEventSynchronize(inside) == cudaErrorCapturedEvent);
    });
    check_spoiled(mode,
                  [&](cudaStream_t s) { CHECK(cudaStreamWaitEvent(s, outside) == cudaErrorStreamCaptureIsolation); });
  }
  // What no stream sees: a relaxed capture allows it.
  const auto careful = cudaStreamCaptureModeThreadLocal;
  check_spoiled(careful, [&](cudaStream_t) { refused(cudaMalloc(&p, 4)); });
  check_spoiled(careful, [&](cudaStream_t) { refused(cudaMallocHost(&p, 4)); });
  check_spoiled(careful, [&](cudaStream_t) { refused(cudaEventQuery(outside)); });
  check_spoiled(careful, [&](cudaStream_t) { refused(cudaEventSynchronize(outside)); });
  check_spoiled(careful, [&](cudaStream_t) { refused(cudaStreamSynchronize(other)); });
}

TEST_CASE("a relaxed capture allows what does not conflict with it") {
  const Fresh fresh;
  const CudaStream s, other;
  const CudaEvent outside;
  const DeviceArray<float> x(std::vector<float>(n, 1.0f));
  void* p = nullptr;
  CHECK(scale(other, n, 2, 0, x.get()) == cudaSuccess);
  CHECK(cudaEventRecord(outside, other) == cudaSuccess);
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(scale(s, n, 3, 0, x.get()) == cudaSuccess);
  CHECK(cudaMalloc(&p, 4) == cudaSuccess);
  CHECK(cudaEventSynchronize(outside) == cudaSuccess);
  CHECK(cudaStreamSynchronize(other) == cudaSuccess);
  CHECK(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed) == cudaErrorIllegalState);
  REQUIRE(cudaStreamEndCapture(s, &graph) == cudaSuccess);
  CHECK(emulator::take_findings().size() == 1);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(x.values()[0] == 2.0f);
}

TEST_CASE("captures end only where they began, joined, and apart from others") {
  const Fresh fresh;
  const CudaStream s, branch;
  const CudaEvent fork, ended;
  const DeviceArray<float> x(std::vector<float>(n, 1.0f));
  cudaGraph_t graph = nullptr;
  const auto begin = [](cudaStream_t stream) {
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  };
  begin(s);
  CHECK(cudaStreamEndCapture(branch, &graph) == cudaErrorStreamCaptureUnmatched);
  CHECK(cudaEventRecord(fork, s) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(branch, fork) == cudaSuccess);
  CHECK(scale(branch, n, 1, 1, x.get()) == cudaSuccess);
  CHECK(cudaEventRecord(ended, branch) == cudaSuccess);
  CHECK(cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureUnjoined);
  CHECK(graph == nullptr);
  CHECK(emulator::take_findings().size() == 2);
  // The event says nothing any more.
  CHECK(cudaStreamWaitEvent(s, ended) == cudaErrorCapturedEvent);
  CHECK(emulator::take_findings().size() == 1);
  // Two captures stay two.
  begin(s);
  begin(branch);
  CHECK(cudaEventRecord(fork, s) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(branch, fork) == cudaErrorStreamCaptureMerge);
  CHECK(cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(cudaStreamEndCapture(branch, &graph) == cudaErrorStreamCaptureInvalidated);
  CHECK(emulator::take_findings().size() == 1);
  // Afterwards streams are as before.
  CHECK(scale(branch, n, 1, 1, x.get()) == cudaSuccess);
  CHECK(cudaStreamSynchronize(branch) == cudaSuccess);
  CHECK(x.values()[0] == 2.0f);
}

TEST_CASE("an executable takes the arguments of another capture with the same nodes") {
  const Fresh fresh;
  const CudaStream s;
  const DeviceArray<float> x(std::vector<float>(n, 1.0f)), y(std::vector<float>(n, 1.0f));
  const cudaGraphExec_t graph = captured(s, [&] {
    CHECK(cudaMemsetAsync(y.get(), 0, bytes, s) == cudaSuccess);
    CHECK(scale(s, n, 2, 0, x.get()) == cudaSuccess);
  });
  emulator::counters() = {};
  CHECK(cudaGraphLaunch(graph, s) == cudaSuccess);
  // Other numbers, another length, another array. What has been queued already stays as it is.
  CHECK(update(graph, s, [&] {
          CHECK(cudaMemsetAsync(x.get(), 0, bytes / 2, s) == cudaSuccess);
          CHECK(scale(s, n / 4, 3, 7, y.get()) == cudaSuccess);
        }) == cudaGraphExecUpdateSuccess);
  CHECK(cudaGraphLaunch(graph, s) == cudaSuccess);
  CHECK(cudaStreamSynchronize(s) == cudaSuccess);
  CHECK(x.values()[0] == 0.0f);
  CHECK(x.values()[n - 1] == 2.0f);
  CHECK(y.values()[0] == 7.0f);
  CHECK(y.values()[n - 1] == 0.0f);
  CHECK(emulator::counters().graph_launches == 2);
  CHECK(emulator::counters().graph_updates == 1);
  CHECK(emulator::counters().graph_instances == 0);
  CHECK(emulator::counters().graph_kernels == 2);
  CHECK(emulator::counters().launches == 2);
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
}

TEST_CASE("an executable refuses other nodes, and stays as it was") {
  const Fresh fresh;
  const CudaStream s, branch;
  const CudaEvent fork, join;
  Pinned host;
  const DeviceArray<float> x(std::vector<float>(n, 1.0f)), y(std::vector<float>(n, 1.0f));
  host.fill(1);
  const auto kernel = [&](cudaStream_t stream, float a) { CHECK(scale(stream, n, a, 0, x.get()) == cudaSuccess); };
  const auto copy = [&] {
    CHECK(cudaMemcpyAsync(y.get(), host.get(), bytes, cudaMemcpyHostToDevice, s) == cudaSuccess);
  };
  const cudaGraphExec_t graph = captured(s, [&] {
    copy();
    kernel(s, 2);
    kernel(s, 3);
  });
  emulator::counters() = {};
  CHECK(update(graph, s, [&] {
          copy();
          kernel(s, 5);
        }) == cudaGraphExecUpdateErrorTopologyChanged);
  CHECK(update(graph, s, [&] {  // as many nodes, one of them beside another
          copy();
          CHECK(cudaEventRecord(fork, s) == cudaSuccess);
          CHECK(cudaStreamWaitEvent(branch, fork) == cudaSuccess);
          kernel(s, 5);
          kernel(branch, 5);
          CHECK(cudaEventRecord(join, branch) == cudaSuccess);
          CHECK(cudaStreamWaitEvent(s, join) == cudaSuccess);
        }) == cudaGraphExecUpdateErrorTopologyChanged);
  CHECK(update(graph, s, [&] {
          kernel(s, 5);
          kernel(s, 5);
          kernel(s, 5);
        }) == cudaGraphExecUpdateErrorNodeTypeChanged);
  CHECK(update(graph, s, [&] {
          CHECK(cudaMemcpyAsync(y.get(), x.get(), bytes, cudaMemcpyDeviceToDevice, s) == cudaSuccess);
          kernel(s, 5);
          kernel(s, 5);
        }) == cudaGraphExecUpdateErrorParametersChanged);
  CHECK(emulator::counters().graph_updates == 0);
  CHECK(cudaGraphLaunch(graph, s) == cudaSuccess);
  CHECK(cudaStreamSynchronize(s) == cudaSuccess);
  CHECK(x.values()[0] == 6.0f);
  CHECK(emulator::take_findings().empty());
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
}

TEST_CASE("memory that is freed before its graph runs is found") {
  const Fresh fresh;
  const CudaStream s;
  void *host = nullptr, *device = nullptr, *filled = nullptr;
  REQUIRE(cudaMallocHost(&host, bytes) == cudaSuccess);
  REQUIRE(cudaMalloc(&device, bytes) == cudaSuccess);
  REQUIRE(cudaMalloc(&filled, bytes) == cudaSuccess);
  std::memset(host, 0, bytes);
  const DeviceArray<float> x(n);
  const cudaGraphExec_t graph = captured(s, [&] {
    CHECK(cudaMemcpyAsync(x.get(), host, bytes, cudaMemcpyHostToDevice, s) == cudaSuccess);      // of what goes
    CHECK(cudaMemcpyAsync(x.get(), device, bytes, cudaMemcpyDeviceToDevice, s) == cudaSuccess);  // of this, too
    CHECK(cudaMemsetAsync(filled, 0, bytes, s) == cudaSuccess);                                  // and of that
  });
  CHECK(cudaFreeHost(host) == cudaSuccess);
  CHECK(cudaFree(device) == cudaSuccess);
  CHECK(cudaFree(filled) == cudaSuccess);
  CHECK(emulator::take_findings().empty());
  CHECK(cudaGraphLaunch(graph, s) == cudaSuccess);
  CHECK(cudaStreamSynchronize(s) == cudaSuccess);
  const std::vector<std::string> findings = emulator::take_findings();
  REQUIRE(findings.size() == 3);
  const std::string file = "test_graphs.cpp";
  CHECK(findings[0] == line_of(file, "of what goes") + ": memory of the copy was freed before it had run");
  CHECK(findings[1] == line_of(file, "of this, too") + ": memory of the copy was freed before it had run");
  CHECK(findings[2] == line_of(file, "and of that") + ": memory of the fill was freed before it had run");
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
}
