// Streams, events, memory: what runs late runs late, what is refused is named.
#include <cmath>

#include "tests/cuda_emulator/streams.h"

using namespace crisp;
using namespace crisp::test;

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
