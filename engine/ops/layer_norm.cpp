// Layer normalisation (Ba, Kiros & Hinton, arXiv 1607.06450) over rows. Saves the input and each row's mean and inverse
// standard deviation.
#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op layer_norm_op;

Tensor layer_norm(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  const auto operands = {Operand{"x", x}, Operand{"weight", weight}, Operand{"bias", bias}};
  if (!x || !weight || !bias) fail_operands(tape, layer_norm_op, "an operand is missing", operands);
  check_same_type(tape, layer_norm_op, operands);
  if (x.rank() < 1) fail_operands(tape, layer_norm_op, "x needs at least one dimension", operands);
  const int64_t rows = x.shape().rows(), cols = x.shape().last();
  if (weight.shape() != Shape{cols} || bias.shape() != Shape{cols})
    fail_operands(tape, layer_norm_op, "weight and bias need one element per column of x", operands);
  const Tensor y = tape.output(layer_norm_op, x.shape(), x.dtype(), {x, weight, bias});
  const Tensor stats = Tensor::empty({rows, 2}, x.dtype(), x.device());
  run(tape, y, [&](auto k) {
    k->layer_norm({.rows = rows,
                   .cols = cols,
                   .x = k(x),
                   .dropout_r = {},
                   .weight = k(weight),
                   .bias = k(bias),
                   .epsilon = epsilon,
                   .stats = k(stats),
                   .y = k(y),
                   .dropout_y = {}});
  });
  const double flops = 8.0 * static_cast<double>(x.numel());
  tape.record(layer_norm_op, y, flops, [x, weight, bias, stats, rows, cols](const Context& context, const Tensor& dy) {
    const GradTargets targets(x, weight, bias);
    const GradTarget &dx = targets[0], &dw = targets[1], &db = targets[2];
    run(context, dy, [&](auto k) {
      k->layer_norm_backward({.rows = rows,
                              .cols = cols,
                              .z = k(x),
                              .stats = k(stats),
                              .weight = k(weight),
                              .dy = k(dy),
                              .dropout_r = {},
                              .dropout_y = {},
                              .dx = k(dx),
                              .beta_x = dx.beta,
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

std::vector<Sample> layer_norm_samples() {
  const auto run = [](Tape& t, std::span<const Tensor> in) { return layer_norm(t, in[0], in[1], in[2], 1e-12); };
  const auto inputs = [](const Shape& shape) {
    return std::vector{sample_input(shape, 1), sample_input({shape.last()}, 2, 1, 0.3),
                       sample_input({shape.last()}, 3)};
  };
  return {
      {"rows", inputs({4, 6}), run, 1e-6},
      {"three dimensions", inputs({2, 3, 5}), run, 1e-6},
      {"one row", inputs({1, 6}), run, 1e-6},
      {"no rows", inputs({0, 6}), run, 1e-6},
      {"large epsilon", inputs({3, 4}), [](Tape& t, auto in) { return layer_norm(t, in[0], in[1], in[2], 0.5); }, 1e-6},
  };
}

}  // namespace

const Op layer_norm_op{"layer_norm", layer_norm_samples};

}  // namespace crisp
