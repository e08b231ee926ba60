// A residual connection and its LayerNorm, fused. Saves what layer_norm does: the sum stands for both operands.
#include "engine/ops.h"
#include "engine/ops/layer_norm.h"

namespace crisp {

extern const Op residual_layer_norm_op;

Tensor residual_layer_norm(Tape& tape, const Tensor& x, const Tensor& residual, const Dropout& dropout,
                           const Tensor& weight, const Tensor& bias, double epsilon) {
  const auto complain = [&](const char* problem) {
    fail_operands(tape, residual_layer_norm_op, problem,
                  {{"x", x}, {"residual", residual}, {"weight", weight}, {"bias", bias}});
  };
  check_same_type(tape, residual_layer_norm_op, {{"x", x}, {"residual", residual}, {"weight", weight}, {"bias", bias}});
  if (!x || !residual || !weight || !bias) complain("all four operands are needed");
  if (x.rank() < 1 || x.shape() != residual.shape()) complain("x and residual must have one shape [.., dim]");
  const int64_t rows = x.shape().rows(), cols = x.shape().last();
  if (weight.shape() != Shape{cols} || bias.shape() != Shape{cols}) complain("weight and bias must be [dim]");
  if (!(dropout.p >= 0 && dropout.p < 1)) complain("the dropout probability must lie in [0, 1)");

  const Tensor y = tape.output(residual_layer_norm_op, x.shape(), x.dtype(), {x, residual, weight, bias});
  const SavedNorm saved{.weight = weight,
                        .z = Tensor::empty(x.shape(), x.dtype(), x.device()),
                        .stats = Tensor::empty({rows, 2}, x.dtype(), x.device()),
                        .dropout_r = dropout};
  layer_norm_forward(tape.context(), {x}, {residual}, saved, bias, epsilon, y);
  const double flops = 10.0 * static_cast<double>(x.numel());
  tape.record(residual_layer_norm_op, y, flops,
              [x = x.without_values(), residual = residual.without_values(), saved, bias = bias.without_values()](
                  const Context& context, const Tensor& dy) {
                const GradTargets targets(x, residual, saved.weight, bias);
                layer_norm_backward(context, saved, dy, targets[0], targets[1], targets[2], targets[3]);
                targets.add_up(context);
              });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> residual_layer_norm_samples() {
  const Tensor weight = sample_input({5}, 3, 1, 0.3), bias = sample_input({5}, 4);
  const auto run = [](double p) {
    return [p](Tape& tape, std::span<const Tensor> in) {
      const Dropout dropout{p, {.seed = 7, .stream = Stream::dropout}};
      return residual_layer_norm(tape, in[0], in[1], dropout, in[2], in[3], 1e-12);
    };
  };
  return {
      {"plain", {sample_input({4, 5}, 1), sample_input({4, 5}, 2), weight, bias}, run(0), 1e-6},
      {"with dropout", {sample_input({6, 5}, 1), sample_input({6, 5}, 2), weight, bias}, run(0.4), 1e-6},
      {"one row", {sample_input({1, 5}, 5), sample_input({1, 5}, 6), weight, bias}, run(0), 1e-6},
      {"no rows", {sample_input({0, 5}, 5), sample_input({0, 5}, 6), weight, bias}, run(0.4), 1e-6},
  };
}

}  // namespace

const Op residual_layer_norm_op{"residual_layer_norm", residual_layer_norm_samples};

}  // namespace crisp
