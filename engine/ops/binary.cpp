// Elementwise operations on two tensors with NumPy's broadcasting (dimensions of 1 are repeated): add, sub, mul, div.
// The gradient of an operand that was broadcast is summed over the dimensions along which it was. Saves both operands.
#include <algorithm>

#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op add_op, sub_op, mul_op, div_op;

namespace {

using Function = Tensor (*)(Tape&, const Tensor&, const Tensor&);

// Dimensions of the output with each operand's strides; neighbours that both operands walk alike are merged, so that
// the kernel's inner loop is long.
BroadcastPlan make_plan(const Shape& out, const Shape& a, const Shape& b) {
  const auto strides = [&](const Shape& s) {
    std::array<int64_t, Shape::max_rank> result{};
    int64_t step = 1;
    for (int i = 1; i <= s.rank(); ++i) {
      result[static_cast<size_t>(out.rank() - i)] = s[-i] == 1 ? 0 : step;
      step *= s[-i];
    }
    return result;
  };
  const auto sa = strides(a), sb = strides(b);
  BroadcastPlan plan{};
  plan.numel = out.numel();
  plan.same = a == b;
  int at = 5;
  plan.dims[at] = 1;
  for (int i = out.rank() - 1; i >= 0; --i) {
    const auto k = static_cast<size_t>(i);
    const int64_t n = out[i];
    if (n == 1) continue;
    if (plan.dims[at] != 1) {
      const bool merges = sa[k] == plan.stride_a[at] * plan.dims[at] && sb[k] == plan.stride_b[at] * plan.dims[at];
      if (merges) {
        plan.dims[at] *= n;
        continue;
      }
      --at;
    }
    plan.dims[at] = n;
    plan.stride_a[at] = sa[k];
    plan.stride_b[at] = sb[k];
  }
  for (int i = 0; i < at; ++i) plan.dims[i] = 1;
  return plan;
}

Tensor binary(Tape& tape, const Op& op, BinaryOp kind, const Tensor& a, const Tensor& b) {
  if (!a || !b) fail_operands(tape, op, "an operand is missing", {{"a", a}, {"b", b}});
  check_same_type(tape, op, {{"a", a}, {"b", b}});
  const int rank = std::min(a.rank(), b.rank());
  for (int i = 1; i <= rank; ++i)
    if (a.dim(-i) != b.dim(-i) && a.dim(-i) != 1 && b.dim(-i) != 1)
      fail_operands(tape, op, "shapes do not broadcast", {{"a", a}, {"b", b}});
  const Shape shape = broadcast(a.shape(), b.shape(), op.name);
  const BroadcastPlan plan = make_plan(shape, a.shape(), b.shape());
  const Tensor y = tape.output(op, shape, a.dtype(), {a, b});
  run(tape, y, [&](auto k) { k->binary(kind, plan, k(a), k(b), k(y)); });
  const double flops = static_cast<double>(plan.numel);
  tape.record(op, y, flops, [a, b, plan, kind](const Context& context, const Tensor& dy) {
    run(context, dy, [&](auto k) {
      // One after the other: a and b may be the same tensor, and then the second call adds to the first.
      if (const GradTarget da = a.grad_target()) k->binary_backward(kind, 0, plan, k(a), k(b), k(dy), k(da), da.beta);
      if (const GradTarget db = b.grad_target()) k->binary_backward(kind, 1, plan, k(a), k(b), k(dy), k(db), db.beta);
    });
  });
  return y;
}

}  // namespace

Tensor add(Tape& tape, const Tensor& a, const Tensor& b) { return binary(tape, add_op, BinaryOp::add, a, b); }
Tensor sub(Tape& tape, const Tensor& a, const Tensor& b) { return binary(tape, sub_op, BinaryOp::sub, a, b); }
Tensor mul(Tape& tape, const Tensor& a, const Tensor& b) { return binary(tape, mul_op, BinaryOp::mul, a, b); }
Tensor div(Tape& tape, const Tensor& a, const Tensor& b) { return binary(tape, div_op, BinaryOp::div, a, b); }

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> samples_of(Function f) {
  const auto run = [f](Tape& t, std::span<const Tensor> in) { return f(t, in[0], in[1]); };
  const auto x = [](const Shape& shape) { return sample_input(shape, 1); };
  const auto y = [](const Shape& shape) { return sample_input(shape, 2, 3, 0.5); };  // a divisor keeps away from 0
  return {
      {"same shape", {x({3, 4}), y({3, 4})}, run},
      {"row vector", {x({3, 4}), y({4})}, run},
      {"column vector", {x({3, 4}), y({3, 1})}, run},
      {"left operand broadcast", {x({4}), y({2, 3, 4})}, run},
      {"both broadcast", {x({3, 1, 4}), y({2, 1, 5, 1})}, run},
      {"scalar", {x({2, 3}), y({})}, run},
      {"one row", {x({1, 4}), y({1, 4})}, run},
      {"no rows", {x({0, 4}), y({4})}, run},
  };
}

}  // namespace

const Op add_op{"add", [] { return samples_of(add); }};
const Op sub_op{"sub", [] { return samples_of(sub); }};
const Op mul_op{"mul", [] { return samples_of(mul); }};
const Op div_op{"div", [] { return samples_of(div); }};

}  // namespace crisp
