// Sums over one axis or over everything; the recording that sum and mean share.
#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/axis.h"

namespace crisp {

extern const Op sum_op;

Tensor reduce(Tape& tape, const Op& op, ReduceOp kind, const Tensor& x, const AxisSplit& s, const Shape& shape) {
  const Tensor y = tape.output(op, shape, x.dtype(), {x});
  run(tape, y, [&](auto k) { k->reduce(kind, s.outer, s.n, s.inner, k(x), k(y)); });
  const double flops = static_cast<double>(x.numel());
  tape.record(op, y, flops, [x = x.without_values(), s, kind](const Context& context, const Tensor& dy) {
    if (const GradTarget dx = x.grad_target())
      run(context, dy, [&](auto k) { k->reduce_backward(kind, s.outer, s.n, s.inner, k(dy), k(dx), dx.beta); });
  });
  return y;
}

Tensor sum(Tape& tape, const Tensor& x, int axis) {
  check_same_type(tape, sum_op, {{"x", x}});
  const AxisSplit s = split_axis(tape, sum_op, x, axis);
  return reduce(tape, sum_op, ReduceOp::sum, x, s, without_axis(x, s.axis));
}

Tensor sum(Tape& tape, const Tensor& x) {
  check_same_type(tape, sum_op, {{"x", x}});
  return reduce(tape, sum_op, ReduceOp::sum, x, {.n = x.numel()}, {});
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> sum_samples() {
  return {
      {"all", {sample_input({3, 4}, 1)}, [](Tape& t, auto in) { return sum(t, in[0]); }},
      {"first axis", {sample_input({3, 4}, 2)}, [](Tape& t, auto in) { return sum(t, in[0], 0); }},
      {"middle axis", {sample_input({2, 3, 4}, 3)}, [](Tape& t, auto in) { return sum(t, in[0], 1); }},
      {"last axis", {sample_input({2, 3, 4}, 4)}, [](Tape& t, auto in) { return sum(t, in[0], -1); }},
      {"one row", {sample_input({1, 5}, 5)}, [](Tape& t, auto in) { return sum(t, in[0], 0); }},
      {"no rows", {sample_input({0, 5}, 6)}, [](Tape& t, auto in) { return sum(t, in[0], 0); }},
  };
}

}  // namespace

const Op sum_op{"sum", sum_samples};

}  // namespace crisp
