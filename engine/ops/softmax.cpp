// exp(x) normalised to sum 1 over each row. Saves its output.
#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op softmax_op;

Tensor softmax(Tape& tape, const Tensor& x) {
  check_same_type(tape, softmax_op, {{"x", x}});
  if (x.rank() < 1) fail_operands(tape, softmax_op, "x needs at least one dimension", {{"x", x}});
  const int64_t rows = x.shape().rows(), cols = x.shape().last();
  const Tensor y = tape.output(softmax_op, x.shape(), x.dtype(), {x});
  run(tape, y, [&](auto k) { k->softmax(rows, cols, k(x), k(y)); });
  const double flops = 4.0 * static_cast<double>(x.numel());
  tape.record(softmax_op, y, flops, [x = x.without_values(), y, rows, cols](const Context& context, const Tensor& dy) {
    if (const GradTarget dx = x.grad_target())
      run(context, dy, [&](auto k) { k->softmax_backward(rows, cols, k(y), k(dy), k(dx), dx.beta); });
  });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> softmax_samples() {
  const auto run = [](Tape& t, std::span<const Tensor> in) { return softmax(t, in[0]); };
  return {
      {"rows", {sample_input({3, 5}, 1)}, run, 1e-6},
      {"three dimensions", {sample_input({2, 2, 4}, 2)}, run, 1e-6},
      {"large numbers", {sample_input({2, 4}, 3, 1000)}, run, 1e-6},
      {"one row", {sample_input({1, 6}, 4)}, run, 1e-6},
      {"one column", {sample_input({3, 1}, 5)}, run, 1e-6},
      {"no rows", {sample_input({0, 5}, 6)}, run, 1e-6},
  };
}

}  // namespace

const Op softmax_op{"softmax", softmax_samples};

}  // namespace crisp
