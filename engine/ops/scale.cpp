// Multiplication by a constant.
#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op scale_op;

Tensor scale(Tape& tape, const Tensor& x, double factor) {
  check_same_type(tape, scale_op, {{"x", x}});
  const Tensor y = tape.output(scale_op, x.shape(), x.dtype(), {x});
  run(tape, y, [&](auto k) { k->scale(x.numel(), factor, k(x), k(y), 0); });
  const double flops = static_cast<double>(x.numel());
  tape.record(scale_op, y, flops, [x = x.without_values(), factor](const Context& context, const Tensor& dy) {
    if (const GradTarget dx = x.grad_target())
      run(context, dy, [&](auto k) { k->scale(dy.numel(), factor, k(dy), k(dx), dx.beta); });
  });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> scale_samples() {
  return {
      {"matrix", {sample_input({3, 4}, 1)}, [](Tape& t, auto in) { return scale(t, in[0], -2.5); }},
      {"by zero", {sample_input({3}, 2)}, [](Tape& t, auto in) { return scale(t, in[0], 0); }},
      {"no rows", {sample_input({0, 4}, 3)}, [](Tape& t, auto in) { return scale(t, in[0], 3); }},
  };
}

}  // namespace

const Op scale_op{"scale", scale_samples};

}  // namespace crisp
