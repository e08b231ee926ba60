#include "engine/profile.h"

#include <array>
#include <atomic>
#include <chrono>
#include <mutex>
#include <utility>

#include "engine/system.h"

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

// What runs beside others has no time of its own.
template <class T>
GemmCall<T> alone(const GemmCall<T>& call) {
  GemmCall<T> product = call;
  product.beside = false;
  return product;
}
template <class X>
const X& alone(const X& x) {
  return x;
}

// Of numbers that libc++ adds to from its version 18 on only.
void add_to(std::atomic<double>& sum, double x) {
  double before = sum.load(std::memory_order_relaxed);
  while (!sum.compare_exchange_weak(before, before + x, std::memory_order_relaxed)) {
  }
}

void add(Counter& counter, double seconds, double flops) {
  counter.calls.fetch_add(1, std::memory_order_relaxed);
  counter.nanoseconds.fetch_add(static_cast<int64_t>(1e9 * seconds), std::memory_order_relaxed);
  if (flops != 0) add_to(counter.flops, flops);
}

// Calls to a device whose times are not known yet.
struct Waiting {
  const Moments* moments;
  size_t index;
  double flops;
  void *begin, *end;
};
os::BriefMutex waiting_mutex;
std::vector<Waiting> waiting;

void take_waiting(bool count) {
  std::vector<Waiting> calls;
  {
    const std::lock_guard lock(waiting_mutex);
    calls.swap(waiting);
  }
  for (const Waiting& call : calls) {
    if (count) add(counters[call.index], call.moments->seconds(call.begin, call.end), call.flops);
    call.moments->forget(call.begin);
    call.moments->forget(call.end);
  }
}

// Times one call of entry number `index`, from its making to stop().
class Stopwatch {
 public:
  Stopwatch(size_t index, double flops, const Moments* moments) : index_(index), flops_(flops), moments_(moments) {
    if (moments_) {
      at_ = moments_->record();
    } else {
      begin_ = std::chrono::steady_clock::now();
    }
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() {
    if (at_) moments_->forget(at_);  // the kernel threw
  }
  void stop() {
    if (!moments_) {
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin_;
      return add(counters[index_], time.count(), flops_);
    }
    void* const end = moments_->record();
    const std::lock_guard lock(waiting_mutex);
    waiting.push_back({moments_, index_, flops_, std::exchange(at_, nullptr), end});
  }

 private:
  size_t index_;
  double flops_;
  const Moments* moments_;
  void* at_ = nullptr;
  std::chrono::steady_clock::time_point begin_;
};

// What is timed, for each type of numbers of each device.
template <class T>
struct Original {
  const Kernels<T>* table = nullptr;
  const Moments* moments = nullptr;
};

template <Device device>
struct On {
  template <class T>
  static Original<T>& original() {
    static Original<T> kept;
    return kept;
  }

  // The kernel that stands in for entry number Index of the table. Function deduces the parameters.
  template <class T, size_t Index, auto Member, class Function>
  struct Timed;
  template <class T, size_t Index, auto Member, class... Arguments>
  struct Timed<T, Index, Member, void (*)(Arguments...)> {
    static void call(Arguments... arguments) {
      const Original<T>& kept = original<T>();
      Stopwatch watch(Index, (0.0 + ... + flops_of(arguments)), kept.moments);
      (kept.table->*Member)(alone(arguments)...);
      watch.stop();
    }
  };
};

}  // namespace

const char* name_of(KernelKind kind) {
  constexpr const char* names[kernel_kinds] = {"gemm", "attention", "norms_and_activations", "optimizer", "other"};
  return names[static_cast<size_t>(kind)];
}

void start_profile() {
  take_waiting(false);
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
  take_waiting(true);
  std::vector<KernelProfile> result;
  for_each_kernel<float>([&]<size_t I>(const auto& entry) {
    const Counter& c = counters[I];
    result.push_back({entry.name, entry.kind, c.calls, 1e-9 * static_cast<double>(c.nanoseconds), c.flops});
  });
  return result;
}

template <Device device, class T>
const Kernels<T>& timed(const Kernels<T>& original, const Moments* moments) {
  static const Kernels<T> table = [&] {
    On<device>::template original<T>() = {&original, moments};
    return kernels_made_of<T, On<device>::template Timed>();
  }();
  return table;
}
template const Kernels<float>& timed<Device::cpu>(const Kernels<float>&, const Moments*);
template const Kernels<double>& timed<Device::cpu>(const Kernels<double>&, const Moments*);
template const Kernels<float>& timed<Device::cuda>(const Kernels<float>&, const Moments*);
template const Kernels<double>& timed<Device::cuda>(const Kernels<double>&, const Moments*);

}  // namespace crisp
