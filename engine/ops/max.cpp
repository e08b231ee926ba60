// The maximum over one axis. Where several elements are largest, the first one gets the gradient. Saves its
// position.
#include <fmt/format.h>

#include <limits>

#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/axis.h"

namespace crisp {

extern const Op max_op;

Tensor max(Tape& tape, const Tensor& x, int axis) {
  check_same_type(tape, max_op, {{"x", x}});
  const AxisSplit s = split_axis(tape, max_op, x, axis);
  if (s.n == 0) fail_operands(tape, max_op, fmt::format("axis {} is empty and has no maximum", axis), {{"x", x}});
  if (s.n > std::numeric_limits<int32_t>::max())
    fail_operands(tape, max_op, fmt::format("axis {} has more than 2^31 - 1 elements", axis), {{"x", x}});
  const Tensor y = tape.output(max_op, without_axis(x, s.axis), x.dtype(), {x});
  const Tensor index = Tensor::empty(y.shape(), DType::i32, x.device());
  run(tape, y, [&](auto k) { k->max(s.outer, s.n, s.inner, k(x), k(y), k.ids(index)); });
  const double flops = static_cast<double>(x.numel());
  tape.record(max_op, y, flops, [x = x.without_values(), index, s](const Context& context, const Tensor& dy) {
    if (const GradTarget dx = x.grad_target())
      run(context, dy, [&](auto k) { k->max_backward(s.outer, s.n, s.inner, k(dy), k.ids(index), k(dx), dx.beta); });
  });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> max_samples() {
  return {
      {"first axis", {sample_input({3, 4}, 1)}, [](Tape& t, auto in) { return max(t, in[0], 0); }},
      {"middle axis", {sample_input({2, 3, 4}, 2)}, [](Tape& t, auto in) { return max(t, in[0], 1); }},
      {"last axis", {sample_input({3, 5}, 3)}, [](Tape& t, auto in) { return max(t, in[0], -1); }},
      {"one row", {sample_input({1, 5}, 4)}, [](Tape& t, auto in) { return max(t, in[0], 0); }},
      {"no rows", {sample_input({0, 5}, 5)}, [](Tape& t, auto in) { return max(t, in[0], 1); }},
  };
}

}  // namespace

const Op max_op{"max", max_samples};

}  // namespace crisp
