// Layer normalisation (Ba, Kiros & Hinton, arXiv 1607.06450) over rows. Saves the input and each row's mean and inverse
// standard deviation.
#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {
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

extern const Op layer_norm_op{"layer_norm", layer_norm_samples};

Tensor layer_norm(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  const auto operands = {Operand{"x", x}, Operand{"weight", weight}, Operand{"bias", bias}};
  if (!x || !weight || !bias) fail_operands(tape, layer_norm_op, "an operand is missing", operands);
  check_same_type(tape, layer_norm_op, operands);
  if (x.rank() < 1) fail_operands(tape, layer_norm_op, "x needs at least one dimension", operands);
  const int64_t rows = x.shape().rows(), cols = x.shape().last();
  if (weight.shape() != Shape{cols} || bias.shape() != Shape{cols})
    fail_operands(tape, layer_norm_op, "weight and bias need one element per column of x", operands);
  const Device device = x.device();
  const Tensor y = tape.output(layer_norm_op, x.shape(), x.dtype(), {x, weight, bias});
  const Tensor stats = Tensor::empty({rows, 2}, x.dtype(), device);
  with_type(x, [&]<class T>() {
    need(kernels<T>(device).layer_norm, "layer_norm", device)(nullptr, {.rows = rows,
                                                                        .cols = cols,
                                                                        .x = x.data<T>(),
                                                                        .dropout_r = {},
                                                                        .weight = weight.data<T>(),
                                                                        .bias = bias.data<T>(),
                                                                        .epsilon = epsilon,
                                                                        .stats = stats.data<T>(),
                                                                        .y = y.data<T>(),
                                                                        .dropout_y = {}});
  });
  tape.record(layer_norm_op, y, 8.0 * static_cast<double>(x.numel()),
              [x, weight, bias, stats, rows, cols, device](const Tensor& dy) {
                with_type(dy, [&]<class T>() {
                  const GradTargets targets(x, weight, bias);
                  const GradTarget &dx = targets[0], &dw = targets[1], &db = targets[2];
                  need(kernels<T>(device).layer_norm_backward, "layer_norm_backward", device)(
                      nullptr, {.rows = rows,
                                .cols = cols,
                                .z = x.data<T>(),
                                .stats = stats.data<T>(),
                                .weight = weight.data<T>(),
                                .dy = dy.data<T>(),
                                .dropout_r = {},
                                .dropout_y = {},
                                .dx = dx.data<T>(),
                                .beta_x = dx.beta,
                                .dweight = dw.data<T>(),
                                .beta_weight = dw.beta,
                                .dbias = db.data<T>(),
                                .beta_bias = db.beta});
                  targets.add_up();
                });
              });
  return y;
}

}  // namespace crisp
