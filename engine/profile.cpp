#include "engine/profile.h"

#include <array>
#include <atomic>
#include <chrono>
#include <tuple>
#include <type_traits>
#include <utility>

namespace crisp {
namespace {

constexpr KernelKind gemm = KernelKind::gemm, attention = KernelKind::attention,
                     layers = KernelKind::norms_and_activations, optimizer = KernelKind::optimizer,
                     other = KernelKind::other;

template <auto Member>
struct Entry {
  const char* name;
  KernelKind kind;
};

// Every entry of the table, in its order. Sums of squares serve the clipping of gradients, column sums are the
// gradients of biases.
template <class T>
constexpr auto entries() {
  using K = Kernels<T>;
  return std::tuple{
      Entry<&K::unary>{"unary", layers},
      Entry<&K::unary_backward>{"unary_backward", layers},
      Entry<&K::gelu_backward_bias>{"gelu_backward_bias", layers},
      Entry<&K::binary>{"binary", other},
      Entry<&K::binary_backward>{"binary_backward", other},
      Entry<&K::scale>{"scale", other},
      Entry<&K::dropout>{"dropout", layers},
      Entry<&K::reduce>{"reduce", other},
      Entry<&K::reduce_backward>{"reduce_backward", other},
      Entry<&K::max>{"max", other},
      Entry<&K::max_backward>{"max_backward", other},
      Entry<&K::copy_2d>{"copy_2d", other},
      Entry<&K::transpose>{"transpose", other},
      Entry<&K::column_sum>{"column_sum", layers},
      Entry<&K::sum_squares>{"sum_squares", optimizer},
      Entry<&K::all_finite>{"all_finite", other},
      Entry<&K::gemm>{"gemm", gemm},
      Entry<&K::softmax>{"softmax", layers},
      Entry<&K::softmax_backward>{"softmax_backward", layers},
      Entry<&K::log_softmax>{"log_softmax", layers},
      Entry<&K::log_softmax_backward>{"log_softmax_backward", layers},
      Entry<&K::layer_norm>{"layer_norm", layers},
      Entry<&K::layer_norm_backward>{"layer_norm_backward", layers},
      Entry<&K::gather_rows>{"gather_rows", other},
      Entry<&K::scatter_rows>{"scatter_rows", other},
      Entry<&K::accumulate_rows>{"accumulate_rows", other},
      Entry<&K::cross_entropy>{"cross_entropy", other},
      Entry<&K::cross_entropy_backward>{"cross_entropy_backward", other},
      Entry<&K::attention>{"attention", attention},
      Entry<&K::attention_backward>{"attention_backward", attention},
      Entry<&K::adamw>{"adamw", optimizer},
      Entry<&K::adamw_rows>{"adamw_rows", optimizer},
  };
}

template <class T>
constexpr size_t entry_count = std::tuple_size_v<decltype(entries<T>())>;
static_assert(entry_count<float> * sizeof(void (*)()) == sizeof(Kernels<float>) &&
                  entry_count<double> == entry_count<float>,
              "every entry of Kernels<T> needs a line in entries()");

struct Counter {
  std::atomic<int64_t> calls{0}, nanoseconds{0};
  std::atomic<double> flops{0};
};
std::array<Counter, entry_count<float>> counters;
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

template <class T, size_t Index, auto Member>
void wrap(Entry<Member>, const Kernels<T>& original, Kernels<T>& table) {
  using Function = std::remove_cvref_t<decltype(original.*Member)>;
  table.*Member = Timed<T, Index, Member, Function>::call;
}

template <class F>
void for_each_entry(F f) {
  [&]<size_t... I>(std::index_sequence<I...>) { (f.template operator()<I>(std::get<I>(entries<float>())), ...); }
  (std::make_index_sequence<entry_count<float>>());
}

}  // namespace

const char* name_of(KernelKind kind) {
  switch (kind) {
    case KernelKind::gemm:
      return "gemm";
    case KernelKind::attention:
      return "attention";
    case KernelKind::norms_and_activations:
      return "norms_and_activations";
    case KernelKind::optimizer:
      return "optimizer";
    case KernelKind::other:
      break;
  }
  return "other";
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
  for_each_entry([&]<size_t I>(const auto& entry) {
    const Counter& c = counters[I];
    result.push_back({entry.name, entry.kind, c.calls, 1e-9 * static_cast<double>(c.nanoseconds), c.flops});
  });
  return result;
}

template <class T>
const Kernels<T>& timed(const Kernels<T>& original) {
  static const Kernels<T> table = [&] {
    original_table<T>() = &original;
    Kernels<T> t{};
    [&]<size_t... I>(std::index_sequence<I...>) { (wrap<T, I>(std::get<I>(entries<T>()), original, t), ...); }
    (std::make_index_sequence<entry_count<T>>());
    return t;
  }();
  return table;
}
template const Kernels<float>& timed(const Kernels<float>&);
template const Kernels<double>& timed(const Kernels<double>&);

}  // namespace crisp
