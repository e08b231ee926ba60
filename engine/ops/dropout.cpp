// Dropout. The mask is a function of (key, element) and is drawn again for the backward pass instead of being stored.
#include <fmt/format.h>

#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op dropout_op;

Tensor dropout(Tape& tape, const Tensor& x, const Dropout& rule) {
  check_same_type(tape, dropout_op, {{"x", x}});
  if (!(rule.p >= 0 && rule.p < 1))
    fail_operands(tape, dropout_op, fmt::format("probability {} is outside [0, 1)", rule.p), {{"x", x}});
  if (rule.p == 0) return x;
  const Tensor y = tape.output(dropout_op, x.shape(), x.dtype(), {x});
  run(tape, y, [&](auto k) { k->dropout(x.numel(), rule, k(x), k(y), 0); });
  const double flops = static_cast<double>(x.numel());
  tape.record(dropout_op, y, flops, [x = x.without_values(), rule](const Context& context, const Tensor& dy) {
    if (const GradTarget dx = x.grad_target())
      run(context, dy, [&](auto k) { k->dropout(dy.numel(), rule, k(dy), k(dx), dx.beta); });
  });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> dropout_samples() {
  const auto with = [](double p) {
    return [p](Tape& t, std::span<const Tensor> in) {
      return dropout(t, in[0], {p, {.seed = 7, .stream = Stream::dropout, .step = 3, .site = 1}});
    };
  };
  return {
      {"p = 0.5", {sample_input({5, 7}, 1)}, with(0.5)},
      {"p = 0.1", {sample_input({5, 7}, 2)}, with(0.1)},
      {"no rows", {sample_input({0, 7}, 3)}, with(0.1)},
  };
}

}  // namespace

const Op dropout_op{"dropout", dropout_samples};

}  // namespace crisp
