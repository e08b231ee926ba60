#include "engine/cuda/staging.h"

#include <cuda_runtime.h>

#include <array>
#include <cstring>
#include <mutex>

#include "engine/cuda/memory.h"
#include "engine/cuda/recording.h"
#include "engine/cuda/runtime.h"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

// Pinned pieces: those for what is sent are taken in turn, each free again once the copies out of it have run; one is
// for what is received.
class Staging {
 public:
  static constexpr size_t piece = size_t{1} << 20, pieces = 4;

  static Staging& the() {
    static Staging& staging = *new Staging;
    return staging;
  }

  void receive(void* to, const void* from, size_t bytes) {
    const std::lock_guard lock(mutex_);
    unsigned char* const place = memory_ + pieces * piece;
    const AtOnce at_once;
    if (bytes > 0) check(cudaMemcpyAsync(place, from, bytes, cudaMemcpyDeviceToHost, stream()), "copying from the GPU");
    check(cudaStreamSynchronize(stream()), "copying from the GPU");
    if (bytes > 0) std::memcpy(to, place, bytes);
  }

  void send(void* to, const void* from, size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (used_ + bytes > piece) {
      const AtOnce at_once;  // what has been recorded reads this piece
      check(cudaEventRecord(sent_[at_], stream()), "copying to the GPU");
      at_ = (at_ + 1) % pieces;
      used_ = 0;
      check(cudaEventSynchronize(sent_[at_]), "copying to the GPU");
    }
    unsigned char* const place = memory_ + at_ * piece + used_;
    std::memcpy(place, from, bytes);
    used_ += (bytes + 63) / 64 * 64;
    const Command command;
    check(cudaMemcpyAsync(to, place, bytes, cudaMemcpyHostToDevice, stream()), "copying to the GPU");
  }

 private:
  Staging() {
    void* p = nullptr;
    check(cudaMallocHost(&p, piece * (pieces + 1)), "allocating pinned memory");
    memory_ = static_cast<unsigned char*>(p);
    for (cudaEvent_t& event : sent_)
      check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "preparing copies to the GPU");
  }

  std::mutex mutex_;
  unsigned char* memory_ = nullptr;
  std::array<cudaEvent_t, pieces> sent_{};
  size_t at_ = 0, used_ = 0;
};

}  // namespace

void copy_to_device(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  if (bytes <= Staging::piece) return Staging::the().send(to, from, bytes);
  const AtOnce at_once;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream()), "copying to the GPU");
  check(cudaStreamSynchronize(stream()), "copying to the GPU");
}

void copy_to_host(void* to, const void* from, size_t bytes) {
  if (bytes <= Staging::piece) return Staging::the().receive(to, from, bytes);
  const AtOnce at_once;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream()), "copying from the GPU");
  check(cudaStreamSynchronize(stream()), "copying from the GPU");
}

void copy_within(void* to, const void* from, size_t bytes) {
  if (bytes == 0 || to == from) return;
  const auto* const source = static_cast<const char*>(from);
  auto* const target = static_cast<char*>(to);
  const auto copy = [](void* t, const void* f, size_t n) {
    const Command command;
    check(cudaMemcpyAsync(t, f, n, cudaMemcpyDeviceToDevice, stream()), "copying within the GPU");
  };
  if (target + bytes <= source || source + bytes <= target) return copy(to, from, bytes);
  void* const between = Memory::the().allocate(bytes);
  copy(between, from, bytes);
  copy(to, between, bytes);
  Memory::the().free(between);
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
