// Means over one axis or over everything.
#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/axis.h"

namespace crisp {

extern const Op mean_op;

Tensor mean(Tape& tape, const Tensor& x, int axis) {
  check_same_type(tape, mean_op, {{"x", x}});
  const AxisSplit s = split_axis(tape, mean_op, x, axis);
  return reduce(tape, mean_op, ReduceOp::mean, x, s, without_axis(x, s.axis));
}

Tensor mean(Tape& tape, const Tensor& x) {
  check_same_type(tape, mean_op, {{"x", x}});
  return reduce(tape, mean_op, ReduceOp::mean, x, {.n = x.numel()}, {});
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> mean_samples() {
  return {
      {"all", {sample_input({3, 4}, 1)}, [](Tape& t, auto in) { return mean(t, in[0]); }},
      {"first axis", {sample_input({3, 4}, 2)}, [](Tape& t, auto in) { return mean(t, in[0], 0); }},
      {"middle axis", {sample_input({2, 3, 4}, 3)}, [](Tape& t, auto in) { return mean(t, in[0], 1); }},
      {"last axis", {sample_input({2, 3, 4}, 4)}, [](Tape& t, auto in) { return mean(t, in[0], -1); }},
      {"one row", {sample_input({1, 5}, 5)}, [](Tape& t, auto in) { return mean(t, in[0], 0); }},
      {"no rows", {sample_input({0, 5}, 6)}, [](Tape& t, auto in) { return mean(t, in[0], 1); }},
  };
}

}  // namespace

const Op mean_op{"mean", mean_samples};

}  // namespace crisp
