#include "engine/op.h"
#include "engine/ops.h"

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
  const Tensor z = Tensor::empty(x.shape(), x.dtype(), x.device());
  const Tensor stats = Tensor::empty({rows, 2}, x.dtype(), x.device());
  run(tape, y, [&](auto k) {
    k->layer_norm({.rows = rows,
                   .cols = cols,
                   .x = k(x),
                   .r = k(residual),
                   .dropout_r = dropout,
                   .weight = k(weight),
                   .bias = k(bias),
                   .epsilon = epsilon,
                   .z = k(z),
                   .stats = k(stats),
                   .y = k(y),
                   .dropout_y = {}});
  });

  const double flops = 10.0 * static_cast<double>(x.numel());
  tape.record(residual_layer_norm_op, y, flops,
              [x = x.without_values(), residual = residual.without_values(), dropout, weight,
               bias = bias.without_values(), z, stats, rows, cols](const Context& context, const Tensor& dy) {
                const GradTargets targets(x, residual, weight, bias);
                const GradTarget &dx = targets[0], &dr = targets[1], &dw = targets[2], &db = targets[3];
                run(context, dy, [&](auto k) {
                  k->layer_norm_backward({.rows = rows,
                                          .cols = cols,
                                          .z = k(z),
                                          .stats = k(stats),
                                          .weight = k(weight),
                                          .dy = k(dy),
                                          .dropout_r = dropout,
                                          .dropout_y = {},
                                          .dx = k(dx),
                                          .beta_x = dx.beta,
                                          .dr = k(dr),
                                          .beta_r = dr.beta,
                                          .dweight = k(dw),
                                          .beta_weight = dw.beta,
                                          .dbias = k(db),
                                          .beta_bias = db.beta});
                });
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
