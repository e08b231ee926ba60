// Elementwise functions of one tensor: exp, log, sqrt, tanh, sigmoid, relu, erf, gelu. They differ in their formula,
// which also says whether the derivative is written in the input or in the output (the one that is saved), and in where
// samples make sense.
#include "engine/formulas.h"
#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op exp_op, log_op, sqrt_op, tanh_op, sigmoid_op, relu_op, erf_op, gelu_op;

namespace {

using Function = Tensor (*)(Tape&, const Tensor&);

bool saves_output(UnaryOp kind) {
  bool output = false;
  formulas::with_formula<double, formulas::StandardMath>(kind, [&](auto formula) { output = formula.in_output; });
  return output;
}

Tensor unary(Tape& tape, const Op& op, UnaryOp kind, const Tensor& x) {
  check_same_type(tape, op, {{"x", x}});
  const Tensor y = tape.output(op, x.shape(), x.dtype(), {x});
  run(tape, y, [&](auto k) { k->unary(kind, x.numel(), k(x), k(y)); });
  // Holding y in its own node is no cycle: the tape destroys the node, not the tensor.
  const Tensor in = saves_output(kind) ? Tensor() : x, out = saves_output(kind) ? y : Tensor();
  const double flops = static_cast<double>(x.numel());
  tape.record(op, y, flops, [x = x.without_values(), in, out, kind](const Context& context, const Tensor& dy) {
    if (const GradTarget dx = x.grad_target())
      run(context, dy, [&](auto k) { k->unary_backward(kind, dy.numel(), k(in), k(out), k(dy), k(dx), dx.beta); });
  });
  return y;
}

}  // namespace

Tensor exp(Tape& tape, const Tensor& x) { return unary(tape, exp_op, UnaryOp::exp, x); }
Tensor log(Tape& tape, const Tensor& x) { return unary(tape, log_op, UnaryOp::log, x); }
Tensor sqrt(Tape& tape, const Tensor& x) { return unary(tape, sqrt_op, UnaryOp::sqrt, x); }
Tensor tanh(Tape& tape, const Tensor& x) { return unary(tape, tanh_op, UnaryOp::tanh, x); }
Tensor sigmoid(Tape& tape, const Tensor& x) { return unary(tape, sigmoid_op, UnaryOp::sigmoid, x); }
Tensor relu(Tape& tape, const Tensor& x) { return unary(tape, relu_op, UnaryOp::relu, x); }
Tensor erf(Tape& tape, const Tensor& x) { return unary(tape, erf_op, UnaryOp::erf, x); }
Tensor gelu(Tape& tape, const Tensor& x) { return unary(tape, gelu_op, UnaryOp::gelu, x); }

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> samples_of(Function f, double mean) {
  const auto run = [f](Tape& t, std::span<const Tensor> in) { return f(t, in[0]); };
  const double deviation = mean == 0 ? 1 : 0.3;
  return {
      {"matrix", {sample_input({3, 5}, 1, mean, deviation)}, run},
      {"scalar", {sample_input({}, 3, mean, deviation)}, run},
      {"no rows", {sample_input({0, 5}, 2, mean, deviation)}, run},
  };
}

}  // namespace

const Op exp_op{"exp", [] { return samples_of(exp, 0); }};
const Op log_op{"log", [] { return samples_of(log, 2); }};
const Op sqrt_op{"sqrt", [] { return samples_of(sqrt, 2); }};
const Op tanh_op{"tanh", [] { return samples_of(tanh, 0); }};
const Op sigmoid_op{"sigmoid", [] { return samples_of(sigmoid, 0); }};
const Op relu_op{"relu", [] { return samples_of(relu, 0); }};
const Op erf_op{"erf", [] { return samples_of(erf, 0); }};
const Op gelu_op{"gelu", [] { return samples_of(gelu, 0); }};

}  // namespace crisp
