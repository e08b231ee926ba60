// Over each row: softmax, exp(x) normalised to sum 1, and log_softmax, its logarithm without forming small
// probabilities. Both save their output.
#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op softmax_op, log_softmax_op;

namespace {

// `kernels(k)`: the forward and the backward kernel.
template <class Kernels>
Tensor of_rows(Tape& tape, const Op& op, const Tensor& x, Kernels kernels) {
  check_same_type(tape, op, {{"x", x}});
  if (x.rank() < 1) fail_operands(tape, op, "x needs at least one dimension", {{"x", x}});
  const int64_t rows = x.shape().rows(), cols = x.shape().last();
  const Tensor y = tape.output(op, x.shape(), x.dtype(), {x});
  run(tape, y, [&](auto k) { kernels(k).first(rows, cols, k(x), k(y)); });
  const double flops = 4.0 * static_cast<double>(x.numel());
  tape.record(op, y, flops, [x = x.without_values(), y, rows, cols, kernels](const Context& context, const Tensor& dy) {
    if (const GradTarget dx = x.grad_target())
      run(context, dy, [&](auto k) { kernels(k).second(rows, cols, k(y), k(dy), k(dx), dx.beta); });
  });
  return y;
}

}  // namespace

Tensor softmax(Tape& tape, const Tensor& x) {
  return of_rows(tape, softmax_op, x, [](auto k) { return std::pair(k->softmax, k->softmax_backward); });
}

Tensor log_softmax(Tape& tape, const Tensor& x) {
  return of_rows(tape, log_softmax_op, x, [](auto k) { return std::pair(k->log_softmax, k->log_softmax_backward); });
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

template <Tensor (*f)(Tape&, const Tensor&)>
std::vector<Sample> samples() {
  const auto run = [](Tape& t, std::span<const Tensor> in) { return f(t, in[0]); };
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

const Op softmax_op{"softmax", samples<softmax>};
const Op log_softmax_op{"log_softmax", samples<log_softmax>};

}  // namespace crisp
