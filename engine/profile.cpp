#include "engine/profile.h"

#include <array>
#include <atomic>
#include <chrono>

namespace crisp {
namespace {

struct Counter {
  std::atomic<int64_t> calls{0}, nanoseconds{0};
  std::atomic<double> flops{0};
};
std::array<Counter, kernel_count<float>> counters;
std::atomic<bool> on{false};

template <class T>
double flops_of(const GemmCall<T>& call) {
  return 2 * static_cast<double>(call.batch * call.m) * static_cast<double>(call.n) * static_cast<double>(call.k);
}
template <class X>
double flops_of(const X&) {
  return 0;
}

template <class T>
const Kernels<T>*& original_table() {
  static const Kernels<T>* table = nullptr;
  return table;
}

// Adds a call to its counter when it ends.
struct Stopwatch {
  Counter& counter;
  double flops;
  std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
  ~Stopwatch() {
    const auto time = std::chrono::steady_clock::now() - begin;
    counter.calls.fetch_add(1, std::memory_order_relaxed);
    counter.nanoseconds.fetch_add(std::chrono::nanoseconds(time).count(), std::memory_order_relaxed);
    if (flops != 0) counter.flops.fetch_add(flops, std::memory_order_relaxed);
  }
};

// The kernel that stands in for entry number Index of the table. Function deduces the parameters.
template <class T, size_t Index, auto Member, class Function>
struct Timed;
template <class T, size_t Index, auto Member, class Result, class... Arguments>
struct Timed<T, Index, Member, Result (*)(Arguments...)> {
  static Result call(Arguments... arguments) {
    const Stopwatch watch{counters[Index], (0.0 + ... + flops_of(arguments))};
    return (original_table<T>()->*Member)(arguments...);
  }
};

}  // namespace

const char* name_of(KernelKind kind) {
  constexpr const char* names[kernel_kinds] = {"gemm", "attention", "norms_and_activations", "optimizer", "other"};
  return names[static_cast<size_t>(kind)];
}

void start_profile() {
  for (Counter& c : counters) {
    c.calls = 0;
    c.nanoseconds = 0;
    c.flops = 0;
  }
  on = true;
}

void stop_profile() { on = false; }

bool profiling() { return on.load(std::memory_order_relaxed); }

std::vector<KernelProfile> profile() {
  std::vector<KernelProfile> result;
  for_each_kernel<float>([&]<size_t I>(const auto& entry) {
    const Counter& c = counters[I];
    result.push_back({entry.name, entry.kind, c.calls, 1e-9 * static_cast<double>(c.nanoseconds), c.flops});
  });
  return result;
}

template <class T>
const Kernels<T>& timed(const Kernels<T>& original) {
  static const Kernels<T> table = [&] {
    original_table<T>() = &original;
    return kernels_made_of<T, Timed>();
  }();
  return table;
}
template const Kernels<float>& timed(const Kernels<float>&);
template const Kernels<double>& timed(const Kernels<double>&);

}  // namespace crisp
