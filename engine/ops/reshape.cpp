// Another shape on the same storage.
#include <fmt/format.h>

#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op reshape_op;

Tensor reshape(Tape& tape, const Tensor& x, const Shape& shape) {
  check_same_type(tape, reshape_op, {{"x", x}});
  if (shape.numel() != x.numel())
    fail_operands(tape, reshape_op, fmt::format("{} has another number of elements", shape.str()), {{"x", x}});
  const Tensor y = tape.output_view(reshape_op, x, x.detach().view(shape));
  tape.record(reshape_op, y, 0, [x = x.without_values()](const Context& context, const Tensor& dy) {
    if (const GradTarget dx = x.grad_target())
      run(context, dy, [&](auto k) { k->scale(dy.numel(), 1, k(dy), k(dx), dx.beta); });
  });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> reshape_samples() {
  return {
      {"split",
       {sample_input({3, 4}, 1)},
       [](Tape& t, auto in) {
         return reshape(t, in[0], {3, 2, 2});
       }},
      {"flatten", {sample_input({2, 3}, 2)}, [](Tape& t, auto in) { return reshape(t, in[0], {6}); }},
      {"no rows",
       {sample_input({0, 4}, 3)},
       [](Tape& t, auto in) {
         return reshape(t, in[0], {2, 0});
       }},
  };
}

}  // namespace

const Op reshape_op{"reshape", reshape_samples};

}  // namespace crisp
