// What tests of streams and graphs share: streams, events, pinned memory, and a few commands.
#pragma once

#include <cstring>
#include <vector>

#include "tests/cuda_emulator/kernels/correct.h"
#include "tests/cuda_emulator/support.h"

namespace crisp::test {

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

// Whether the arrays have the same bits.
inline bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace crisp::test
