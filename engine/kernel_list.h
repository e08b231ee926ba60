// The list of all kernels: names and kinds of the entries of Kernels<T>, for what handles a whole table, whatever is
// in it: the profile, and backends that wrap another one's kernels or have few of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>

#include "engine/backend.h"
#include "engine/kernels.h"

namespace crisp {

/// What a kernel is to a training step.
enum class KernelKind : uint8_t { gemm, attention, norms_and_activations, optimizer, other };

template <auto Member>
struct KernelEntry {
  const char* name;
  KernelKind kind;
};

/// Every entry of the table, in its order. Sums of squares serve the clipping of gradients, column sums are the
/// gradients of biases.
template <class T>
constexpr auto kernel_list() {
  using enum KernelKind;
  using K = Kernels<T>;
  return std::tuple{
      KernelEntry<&K::unary>{"unary", norms_and_activations},
      KernelEntry<&K::unary_backward>{"unary_backward", norms_and_activations},
      KernelEntry<&K::gelu_backward>{"gelu_backward", norms_and_activations},
      KernelEntry<&K::binary>{"binary", other},
      KernelEntry<&K::binary_backward>{"binary_backward", other},
      KernelEntry<&K::scale>{"scale", other},
      KernelEntry<&K::dropout>{"dropout", norms_and_activations},
      KernelEntry<&K::reduce>{"reduce", other},
      KernelEntry<&K::reduce_backward>{"reduce_backward", other},
      KernelEntry<&K::max>{"max", other},
      KernelEntry<&K::max_backward>{"max_backward", other},
      KernelEntry<&K::copy_2d>{"copy_2d", other},
      KernelEntry<&K::transpose>{"transpose", other},
      KernelEntry<&K::column_sum>{"column_sum", norms_and_activations},
      KernelEntry<&K::sum_squares>{"sum_squares", optimizer},
      KernelEntry<&K::all_finite>{"all_finite", other},
      KernelEntry<&K::fill>{"fill", other},
      KernelEntry<&K::clamp>{"clamp", other},
      KernelEntry<&K::gemm>{"gemm", gemm},
      KernelEntry<&K::softmax>{"softmax", norms_and_activations},
      KernelEntry<&K::softmax_backward>{"softmax_backward", norms_and_activations},
      KernelEntry<&K::log_softmax>{"log_softmax", norms_and_activations},
      KernelEntry<&K::log_softmax_backward>{"log_softmax_backward", norms_and_activations},
      KernelEntry<&K::layer_norm>{"layer_norm", norms_and_activations},
      KernelEntry<&K::layer_norm_backward>{"layer_norm_backward", norms_and_activations},
      KernelEntry<&K::gather_rows>{"gather_rows", other},
      KernelEntry<&K::sum_rows>{"sum_rows", other},
      KernelEntry<&K::cross_entropy>{"cross_entropy", other},
      KernelEntry<&K::cross_entropy_backward>{"cross_entropy_backward", other},
      KernelEntry<&K::attention>{"attention", attention},
      KernelEntry<&K::attention_backward>{"attention_backward", attention},
      KernelEntry<&K::adamw>{"adamw", optimizer},
      KernelEntry<&K::adamw_rows>{"adamw_rows", optimizer},
      KernelEntry<&K::clip>{"clip", optimizer},
  };
}

template <class T>
constexpr size_t kernel_count = std::tuple_size_v<decltype(kernel_list<T>())>;
static_assert(kernel_count<float> * sizeof(void (*)()) == sizeof(Kernels<float>) &&
                  kernel_count<double> == kernel_count<float>,
              "every entry of Kernels<T> needs a line in kernel_list()");

/// f.template operator()<I>(entry) for each entry of Kernels<T>.
template <class T, class F>
void for_each_kernel(F f) {
  [&]<size_t... I>(std::index_sequence<I...>) { (f.template operator()<I>(std::get<I>(kernel_list<T>())), ...); }
  (std::make_index_sequence<kernel_count<T>>());
}

/// A table of other functions of the same types: entry number I is Call<T, I, Member, R (*)(A...)>::call.
template <class T, template <class, size_t, auto, class> class Call>
Kernels<T> kernels_made_of() {
  Kernels<T> table{};
  for_each_kernel<T>([&]<size_t I, auto Member>(KernelEntry<Member>) {
    table.*Member = Call<T, I, Member, std::remove_cvref_t<decltype(table.*Member)>>::call;
  });
  return table;
}

[[noreturn]] void fail_missing_kernel(const char* kernel, Device device);

template <Device device>
struct Missing {
  template <class T, size_t Index, auto Member, class Function>
  struct Kernel;
  template <class T, size_t Index, auto Member, class Result, class... Arguments>
  struct Kernel<T, Index, Member, Result (*)(Arguments...)> {
    static Result call(Arguments...) { fail_missing_kernel(std::get<Index>(kernel_list<T>()).name, device); }
  };
};

/// The table of a backend that lacks kernels: a null entry becomes one that throws Error, "softmax has no cuda kernel".
template <Device device, class T>
Kernels<T> complete(Kernels<T> table) {
  const Kernels<T> missing = kernels_made_of<T, Missing<device>::template Kernel>();
  for_each_kernel<T>([&]<size_t I, auto Member>(KernelEntry<Member>) {
    if (!(table.*Member)) table.*Member = missing.*Member;
  });
  return table;
}

}  // namespace crisp
