// Streams, events, graphs, memory: what runs late runs late, what is refused is named.
#include <cmath>
#include <cstring>

#include "tests/cuda_emulator/kernels/correct.h"
#include "tests/cuda_emulator/support.h"

using namespace crisp;
using namespace crisp::test;
using emulator::Order;

namespace {

constexpr int n = 200;
constexpr size_t bytes = n * sizeof(float);

class Pinned {
 public:
  Pinned() { REQUIRE(cudaMallocHost(reinterpret_cast<void**>(&p_), bytes) == cudaSuccess); }
  ~Pinned() { cudaFreeHost(p_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  float* get() const { return p_; }
  void fill(float first) {
    for (int i = 0; i < n; ++i) p_[i] = first * static_cast<float>(i % 7) + static_cast<float>(i);
  }
  std::vector<float> values() const { return {p_, p_ + n}; }

 private:
  float* p_ = nullptr;
};

class CudaStream {
 public:
  CudaStream() { REQUIRE(cudaStreamCreateWithFlags(&s_, cudaStreamNonBlocking) == cudaSuccess); }
  ~CudaStream() { cudaStreamDestroy(s_); }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  operator cudaStream_t() const { return s_; }

 private:
  cudaStream_t s_ = nullptr;
};

class CudaEvent {
 public:
  CudaEvent() { REQUIRE(cudaEventCreateWithFlags(&e_, cudaEventDisableTiming) == cudaSuccess); }
  ~CudaEvent() { cudaEventDestroy(e_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  operator cudaEvent_t() const { return e_; }

 private:
  cudaEvent_t e_ = nullptr;
};

// An upload, two kernels and a download.
struct Step {
  Pinned in, out;
  DeviceArray<float> x{n}, weight{normals<float>(n / 2, 1)}, y{n};
  void run(cudaStream_t s) const {
    CHECK(cudaMemcpyAsync(x.get(), in.get(), bytes, cudaMemcpyHostToDevice, s) == cudaSuccess);
    CHECK(scale(s, n, 0.5f, 1, x.get()) == cudaSuccess);
    CHECK(layer_norm(s, 2, n / 2, x.get(), weight.get(), weight.get(), 1e-12f, y.get()) == cudaSuccess);
    CHECK(cudaMemcpyAsync(out.get(), y.get(), bytes, cudaMemcpyDeviceToHost, s) == cudaSuccess);
  }
};

cudaGraphExec_t captured(cudaStream_t s, const std::function<void()>& commands) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  commands();
  REQUIRE(cudaStreamEndCapture(s, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  return executable;
}

// Whether the arrays have the same bits.
bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("nothing arrives before the host has waited") {
  const Fresh fresh;
  const CudaStream s, other;
  Step step;
  step.in.fill(1);
  step.out.fill(1);
  emulator::counters() = {};
  step.run(s);
  CHECK(emulator::counters().launches == 0);
  CHECK(emulator::counters().waits == 0);
  CHECK(std::isnan(step.out.get()[0]));  // not even what was there before
  CHECK(cudaStreamSynchronize(other) == cudaSuccess);
  CHECK(emulator::counters().launches == 0);
  CHECK(cudaStreamSynchronize(s) == cudaSuccess);
  CHECK(emulator::counters().launches == 2);
  CHECK(emulator::counters().waits == 2);
  CHECK(!std::isnan(step.out.get()[0]));

  const auto late = step.out.values();
  emulator::settings().deferred = false;
  step.run(s);
  CHECK(same(step.out.values(), late));
  CHECK(emulator::take_findings().empty());
}

TEST_CASE("a copy of memory that is not pinned waits, and is counted") {
  const Fresh fresh;
  std::vector<float> host(n, 2.0f);
  const DeviceArray<float> x(std::vector<float>(n, 1.0f));
  emulator::counters() = {};
  CHECK(cudaMemcpyAsync(x.get(), host.data(), bytes, cudaMemcpyHostToDevice) == cudaSuccess);
  host[0] = 7;
  CHECK(cudaMemcpyAsync(host.data(), x.get(), bytes, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(host[0] == 2.0f);
  CHECK(emulator::counters().waits == 2);
}

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

TEST_CASE("what cannot be captured is refused") {
  const Fresh fresh;
  const CudaStream s, branch;
  const CudaEvent fork;
  const DeviceArray<float> x(std::vector<float>(n, 1.0f));
  std::vector<float> host(n);
  cudaGraph_t graph = nullptr;
  void* p = nullptr;
  REQUIRE(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  CHECK(cudaStreamSynchronize(s) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaDeviceSynchronize() == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaMalloc(&p, 4) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaFree(x.get()) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaMemcpyAsync(host.data(), x.get(), 4, cudaMemcpyDeviceToHost, s) == cudaErrorStreamCaptureUnsupported);
  CHECK(emulator::take_findings().size() == 5);
  CHECK(cudaStreamEndCapture(branch, &graph) == cudaErrorStreamCaptureUnmatched);
  CHECK(cudaEventRecord(fork, s) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(branch, fork) == cudaSuccess);
  CHECK(scale(branch, n, 1, 1, x.get()) == cudaSuccess);
  CHECK(cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureUnjoined);
  CHECK(graph == nullptr);
  // Afterwards streams are as before.
  CHECK(scale(branch, n, 1, 1, x.get()) == cudaSuccess);
  CHECK(cudaStreamSynchronize(branch) == cudaSuccess);
  CHECK(x.values()[0] == 2.0f);
}

TEST_CASE("an event orders streams, and only an event does") {
  const Fresh fresh;
  const CudaStream producer, consumer;
  const CudaEvent ready;
  const DeviceArray<float> x(std::vector<float>(n, 1.0f));
  CHECK(scale(producer, n, 5, 0, x.get()) == cudaSuccess);
  CHECK(cudaEventRecord(ready, producer) == cudaSuccess);
  const bool waits = GENERATE(true, false);
  if (waits) CHECK(cudaStreamWaitEvent(consumer, ready) == cudaSuccess);
  CHECK(scale(consumer, n, 1, 1, x.get()) == cudaSuccess);
  CHECK(cudaStreamSynchronize(consumer) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(x.values()[0] == (waits ? 6.0f : 10.0f));
}

TEST_CASE("whoever asks for an event comes to an end") {
  const Fresh fresh;
  const CudaStream s;
  const CudaEvent done;
  const DeviceArray<float> x(std::vector<float>(n, 1.0f));
  CHECK(cudaEventQuery(done) == cudaSuccess);  // never recorded
  for (int i = 0; i < 3; ++i) CHECK(scale(s, n, 1, 1, x.get()) == cudaSuccess);
  CHECK(cudaEventRecord(done, s) == cudaSuccess);
  CHECK(scale(s, n, 1, 1, x.get()) == cudaSuccess);
  emulator::counters() = {};
  int questions = 1;
  while (cudaEventQuery(done) == cudaErrorNotReady) ++questions;
  CHECK(questions == 4);
  CHECK(emulator::counters().launches == 3);
  CHECK(emulator::counters().waits == 0);
  CHECK(cudaEventSynchronize(done) == cudaSuccess);
  CHECK(emulator::counters().launches == 3);
}

TEST_CASE("time passes between events, as far as they have been reached") {
  const Fresh fresh;
  const CudaStream s;
  const CudaEvent without_time;
  const DeviceArray<float> x(std::vector<float>(n, 1.0f));
  cudaEvent_t begin = nullptr, end = nullptr;
  CHECK(cudaEventCreate(&begin) == cudaSuccess);
  CHECK(cudaEventCreate(&end) == cudaSuccess);
  float ms = -1, reverse = -1;
  CHECK(cudaEventElapsedTime(&ms, begin, end) == cudaErrorInvalidResourceHandle);  // never recorded
  for (int run = 0; run < 2; ++run) {
    CHECK(cudaEventRecord(begin, s) == cudaSuccess);
    CHECK(scale(s, n, 2, 0, x.get()) == cudaSuccess);
    CHECK(cudaEventRecord(end, s) == cudaSuccess);
    CHECK(cudaEventRecord(without_time, s) == cudaSuccess);
    CHECK(cudaEventElapsedTime(&ms, begin, end) == cudaErrorNotReady);
    CHECK(cudaEventElapsedTime(&ms, begin, without_time) == cudaErrorInvalidResourceHandle);
    CHECK(cudaEventSynchronize(end) == cudaSuccess);
    CHECK(cudaEventElapsedTime(&ms, begin, end) == cudaSuccess);
    CHECK(cudaEventElapsedTime(&reverse, end, begin) == cudaSuccess);
    CHECK(ms > 0);
    CHECK(reverse == -ms);
  }
  CHECK(x.values()[0] == 4.0f);
  CHECK(cudaEventDestroy(begin) == cudaSuccess);
  CHECK(cudaEventDestroy(end) == cudaSuccess);
}

TEST_CASE("memory") {
  const Fresh fresh;
  size_t free = 0, total = 0, less = 0;
  emulator::settings().memory_bytes = 1 << 20;
  CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess);
  CHECK(total == 1 << 20);
  void *p = nullptr, *q = nullptr;
  CHECK(cudaMalloc(&p, 600 << 10) == cudaSuccess);
  CHECK(cudaMemGetInfo(&less, &total) == cudaSuccess);
  CHECK(free - less == 600 << 10);
  CHECK(cudaMalloc(&q, 600 << 10) == cudaErrorMemoryAllocation);
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(cudaMalloc(&q, 600 << 10) == cudaSuccess);
  CHECK(cudaFree(q) == cudaSuccess);
  CHECK(cudaFree(nullptr) == cudaSuccess);
  // Fresh memory is NaN, also where others have been.
  for (int i = 0; i < 2; ++i) {
    const DeviceArray<float> x(n);
    CHECK(std::isnan(x.values()[n - 1]));
    CHECK(cudaMemsetAsync(x.get(), 0, bytes) == cudaSuccess);
    CHECK(x.values()[n - 1] == 0.0f);
  }
}

TEST_CASE("devices and drivers") {
  const Fresh fresh;
  int count = -1, version = -1;
  cudaDeviceProp properties;
  CHECK(cudaGetDeviceCount(&count) == cudaSuccess);
  CHECK(count == 1);
  CHECK(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK(properties.major == 9);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
  emulator::settings().devices = 0;
  CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice);
  emulator::settings().driver = 0;
  CHECK(cudaGetDeviceCount(&count) == cudaErrorInsufficientDriver);
  CHECK(cudaDriverGetVersion(&version) == cudaSuccess);
  CHECK(version == 0);
  CHECK(cudaGetErrorString(cudaErrorNoDevice) == std::string("no CUDA-capable device is detected"));
  CHECK(cudaGetErrorName(cudaErrorMemoryAllocation) == std::string("cudaErrorMemoryAllocation"));
}
