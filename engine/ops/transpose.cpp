// Swaps the last two dimensions. Products need no transposed copy: matmul and linear take flags.
#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op transpose_op;

Tensor transpose(Tape& tape, const Tensor& x) {
  check_same_type(tape, transpose_op, {{"x", x}});
  if (x.rank() < 2) fail_operands(tape, transpose_op, "x needs at least two dimensions", {{"x", x}});
  const int64_t rows = x.dim(-2), cols = x.dim(-1);
  int64_t batch = 1;
  for (int i = 0; i + 2 < x.rank(); ++i) batch *= x.dim(i);
  const Tensor y = tape.output(transpose_op, x.shape().with(-2, cols).with(-1, rows), x.dtype(), {x});
  run(tape, y, [&](auto k) { k->transpose(batch, rows, cols, k(x), k(y), 0); });
  tape.record(transpose_op, y, 0,
              [x = x.without_values(), batch, rows, cols](const Context& context, const Tensor& dy) {
                if (const GradTarget dx = x.grad_target())
                  run(context, dy, [&](auto k) { k->transpose(batch, cols, rows, k(dy), k(dx), dx.beta); });
              });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> transpose_samples() {
  const auto run = [](Tape& t, std::span<const Tensor> in) { return transpose(t, in[0]); };
  return {
      {"matrix", {sample_input({3, 5}, 1)}, run},
      {"batch", {sample_input({2, 3, 4}, 2)}, run},
      {"one row", {sample_input({1, 5}, 3)}, run},
      {"no rows", {sample_input({0, 5}, 4)}, run},
  };
}

}  // namespace

const Op transpose_op{"transpose", transpose_samples};

}  // namespace crisp
