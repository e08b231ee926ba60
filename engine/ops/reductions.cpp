// Sums and means, over one axis or over everything.
#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/axis.h"

namespace crisp {

extern const Op sum_op, mean_op;

namespace {

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

Tensor over_axis(Tape& tape, const Op& op, ReduceOp kind, const Tensor& x, int axis) {
  check_same_type(tape, op, {{"x", x}});
  const AxisSplit s = split_axis(tape, op, x, axis);
  return reduce(tape, op, kind, x, s, without_axis(x, s.axis));
}

Tensor over_all(Tape& tape, const Op& op, ReduceOp kind, const Tensor& x) {
  check_same_type(tape, op, {{"x", x}});
  return reduce(tape, op, kind, x, {.n = x.numel()}, {});
}

}  // namespace

Tensor sum(Tape& tape, const Tensor& x, int axis) { return over_axis(tape, sum_op, ReduceOp::sum, x, axis); }
Tensor sum(Tape& tape, const Tensor& x) { return over_all(tape, sum_op, ReduceOp::sum, x); }
Tensor mean(Tape& tape, const Tensor& x, int axis) { return over_axis(tape, mean_op, ReduceOp::mean, x, axis); }
Tensor mean(Tape& tape, const Tensor& x) { return over_all(tape, mean_op, ReduceOp::mean, x); }

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

// The mean of nothing is no number, so that of no rows goes along them.
std::vector<Sample> samples_of(Tensor (*all)(Tape&, const Tensor&), Tensor (*over)(Tape&, const Tensor&, int),
                               int axis_without_rows) {
  const auto along = [over](int axis) {
    return [over, axis](Tape& t, std::span<const Tensor> in) { return over(t, in[0], axis); };
  };
  return {
      {"all", {sample_input({3, 4}, 1)}, [all](Tape& t, auto in) { return all(t, in[0]); }},
      {"first axis", {sample_input({3, 4}, 2)}, along(0)},
      {"middle axis", {sample_input({2, 3, 4}, 3)}, along(1)},
      {"last axis", {sample_input({2, 3, 4}, 4)}, along(-1)},
      {"one row", {sample_input({1, 5}, 5)}, along(0)},
      {"no rows", {sample_input({0, 5}, 6)}, along(axis_without_rows)},
  };
}

}  // namespace

const Op sum_op{"sum", [] { return samples_of(sum, sum, 0); }};
const Op mean_op{"mean", [] { return samples_of(mean, mean, 1); }};

}  // namespace crisp
