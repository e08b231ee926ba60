// Layer normalisation (Ba, Kiros & Hinton, arXiv 1607.06450) over rows. Saves the input and each row's mean and inverse
// standard deviation.
#include "engine/ops/layer_norm.h"

#include "engine/ops.h"

namespace crisp {

extern const Op layer_norm_op;

void layer_norm_forward(const Context& context, const NormInput& x, const NormInput& r, const SavedNorm& saved,
                        const Tensor& bias, double epsilon, const Tensor& y) {
  run(context, y, [&](auto k) {
    k->layer_norm({.rows = y.shape().rows(),
                   .cols = y.shape().last(),
                   .x = k(x.values),
                   .x_rows = x.rows ? k(x.rows.ids()) : nullptr,
                   .r = k(r.values),
                   .r_rows = r.rows ? k(r.rows.ids()) : nullptr,
                   .dropout_r = saved.dropout_r,
                   .weight = k(saved.weight),
                   .bias = k(bias),
                   .epsilon = epsilon,
                   .z = r.values ? k(saved.z) : nullptr,
                   .stats = k(saved.stats),
                   .y = k(y),
                   .dropout_y = saved.dropout_y});
  });
}

void layer_norm_backward(const Context& context, const SavedNorm& saved, const Tensor& dy, const GradTarget& dx,
                         const GradTarget& dr, const GradTarget& dweight, const GradTarget& dbias) {
  run(context, dy, [&](auto k) {
    k->layer_norm_backward({.rows = dy.shape().rows(),
                            .cols = dy.shape().last(),
                            .z = k(saved.z),
                            .stats = k(saved.stats),
                            .weight = k(saved.weight),
                            .dy = k(dy),
                            .dropout_r = saved.dropout_r,
                            .dropout_y = saved.dropout_y,
                            .dx = k(dx),
                            .beta_x = dx.beta,
                            .dr = k(dr),
                            .beta_r = dr.beta,
                            .dweight = k(dweight),
                            .beta_weight = dweight.beta,
                            .dbias = k(dbias),
                            .beta_bias = dbias.beta});
  });
}

Tensor layer_norm(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  const auto operands = {Operand{"x", x}, Operand{"weight", weight}, Operand{"bias", bias}};
  if (!x || !weight || !bias) fail_operands(tape, layer_norm_op, "an operand is missing", operands);
  check_same_type(tape, layer_norm_op, operands);
  if (x.rank() < 1) fail_operands(tape, layer_norm_op, "x needs at least one dimension", operands);
  const int64_t rows = x.shape().rows(), cols = x.shape().last();
  if (weight.shape() != Shape{cols} || bias.shape() != Shape{cols})
    fail_operands(tape, layer_norm_op, "weight and bias need one element per column of x", operands);
  const Tensor y = tape.output(layer_norm_op, x.shape(), x.dtype(), {x, weight, bias});
  const SavedNorm saved{weight, x, Tensor::empty({rows, 2}, x.dtype(), x.device())};
  layer_norm_forward(tape.context(), {x}, {}, saved, bias, epsilon, y);
  const double flops = 8.0 * static_cast<double>(x.numel());
  tape.record(layer_norm_op, y, flops, [saved, bias = bias.without_values()](const Context& context, const Tensor& dy) {
    const GradTargets targets(saved.z, saved.weight, bias);
    layer_norm_backward(context, saved, dy, targets[0], {}, targets[1], targets[2]);
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
