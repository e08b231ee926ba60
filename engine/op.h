// How an operation declares itself (engine/ops/*.cpp) and what its file needs: checks, samples, registration.
//
// An operation's file holds its shape rule, forward, its saved tensors, backward, FLOP count and sample inputs. Every
// operation is named in the list of engine/ops/list.cpp; the tests walk that list.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/plan.h"
#include "engine/tape.h"
#include "engine/tensor.h"

namespace crisp {

// --- kernels --------------------------------------------------------------------------------------------------------

/// The kernels of one device and type, as an operation calls them: `k->softmax(rows, cols, k(x), k(y))`.
template <class T>
class KernelCall {
 public:
  KernelCall(const Kernels<T>& table, const Context& context) : precision(context.products()), table_(table) {}
  const Kernels<T>* operator->() const { return &table_; }
  /// The elements of a tensor or of a gradient's place; null for an empty one.
  T* operator()(const Tensor& t) const { return elements<T>(t); }
  T* operator()(const GradTarget& d) const { return elements<T>(d.tensor); }
  int32_t* ids(const Tensor& t) const { return elements<int32_t>(t); }
  const int32_t* operator()(const Integers& a) const { return elements<int32_t>(a.device); }
  double* f64(const Tensor& t) const { return elements<double>(t); }

  const MatmulPrecision precision;  // for GemmCall

 private:
  template <class E>
  static E* elements(const Tensor& t) {
    return t ? t.data<E>() : nullptr;
  }
  const Kernels<T>& table_;
};

/// f(k) with the kernels (a KernelCall) for like's device and type, f32 or f64, in the context.
template <class F>
void run(const Context& context, const Tensor& like, F&& f) {
  const Context::Use use(context);
  with_type(like, [&]<class T>() { f(KernelCall<T>(kernels<T>(like.device()), context)); });
}
template <class F>
void run(const Tape& tape, const Tensor& like, F&& f) {
  run(tape.context(), like, f);
}

// --- samples --------------------------------------------------------------------------------------------------------

/// One case for the tests: f64 inputs, ids among them, and a function of nothing else, so that copies of the inputs on
/// any device do as well. Every input that requires a gradient is checked against central differences, element by
/// element, to `tolerance` (relative).
struct Sample {
  std::string what;
  std::vector<Tensor> inputs;
  std::function<Tensor(Tape&, std::span<const Tensor>)> run;
  double tolerance = 1e-7;
};

struct Op {
  const char* name;
  std::vector<Sample> (*samples)();
};

/// Every operation with a gradient, in the order of engine/ops.h.
std::span<const Op* const> all_ops();

// --- sample inputs ------------------------------------------------------------------------------------------------

/// f64 normal numbers that require a gradient; `seed` tells inputs apart.
Tensor sample_input(const Shape& shape, uint64_t seed, double mean = 0, double deviation = 1);
/// i32 values, no gradient.
Tensor sample_ids(std::initializer_list<int32_t> ids);

// --- checks, each throwing an Error that names the operands ----------------------------------------------------------

/// An operand under the name that the message should use.
struct Operand {
  const char* role;
  const Tensor& tensor;
};

/// "linear: inner dimensions differ", the operands with shapes, dtypes, devices and names, and the place in the model.
[[noreturn]] void fail_operands(const Tape& tape, const Op& op, const std::string& problem,
                                std::initializer_list<Operand> operands);
/// All operands on one device and of one floating-point dtype (empty handles are ignored).
void check_same_type(const Tape& tape, const Op& op, std::initializer_list<Operand> operands);
/// `rows` are below `limit`, and on `device`.
void check_rows(const Tape& tape, const Op& op, const char* role, const Rows& rows, int64_t limit, Device device);

/// sum += x, which have one shape, type and device.
void add_in_place(const Context& context, const Tensor& sum, const Tensor& x);

/// The places of several inputs' gradients for one kernel that writes them all. An input that is there twice gets
/// memory of its own the second time, so that nothing depends on the order in which the kernel writes; add_up(), after
/// the kernel, adds that to the first.
template <size_t N>
class GradTargets {
 public:
  template <class... Inputs>
  explicit GradTargets(const Inputs&... inputs) : targets_{inputs.grad_target()...} {
    for (size_t i = 1; i < N; ++i)
      for (size_t j = 0; j < i; ++j)
        if (targets_[i] && targets_[j] && targets_[i].tensor.same_as(targets_[j].tensor)) {
          sums_[i] = targets_[i].tensor;
          targets_[i].tensor = Tensor::empty(sums_[i].shape(), sums_[i].dtype(), sums_[i].device());
          targets_[i].beta = 0;
          break;
        }
  }

  const GradTarget& operator[](size_t i) const { return targets_[i]; }

  void add_up(const Context& context) const {
    for (size_t i = 1; i < N; ++i)
      if (sums_[i]) add_in_place(context, sums_[i], targets_[i].tensor);
  }

 private:
  std::array<GradTarget, N> targets_;
  std::array<Tensor, N> sums_;
};
template <class... Inputs>
GradTargets(const Inputs&...) -> GradTargets<sizeof...(Inputs)>;

}  // namespace crisp
