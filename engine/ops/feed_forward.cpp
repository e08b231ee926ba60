// Two linear layers with GELU between them. Saves x, the weights and the value before GELU.
#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/linear.h"

namespace crisp {

extern const Op feed_forward_op;

Tensor feed_forward(Tape& tape, const Tensor& x, const Tensor& up, const Tensor& up_bias, const Tensor& down,
                    const Tensor& down_bias) {
  const Op& op = feed_forward_op;
  const auto complain = [&](const char* problem) {
    fail_operands(tape, op, problem,
                  {{"x", x}, {"up", up}, {"up_bias", up_bias}, {"down", down}, {"down_bias", down_bias}});
  };
  check_same_type(tape, op, {{"x", x}, {"up", up}, {"up_bias", up_bias}, {"down", down}, {"down_bias", down_bias}});
  if (!x || !up || !down) complain("x, up and down are needed");
  if (x.rank() < 1 || up.rank() != 2 || down.rank() != 2)
    complain("x must be [.., in], up [hidden, in] and down [out, hidden]");
  if (x.shape().last() != up.dim(1) || up.dim(0) != down.dim(1)) complain("inner dimensions differ");
  const int64_t hidden = up.dim(0), out = down.dim(0);
  if (up_bias && up_bias.shape() != Shape{hidden}) complain("up_bias must be [hidden]");
  if (down_bias && down_bias.shape() != Shape{out}) complain("down_bias must be [out]");

  const Tensor y = tape.output(op, x.shape().with(-1, out), x.dtype(), {x, up, up_bias, down, down_bias});
  const Tensor before = Tensor::empty(x.shape().with(-1, hidden), x.dtype(), x.device());
  {
    const Tensor after = Tensor::empty(before.shape(), x.dtype(), x.device());
    linear_forward(tape.context(), x, up, up_bias, before, after);
    linear_forward(tape.context(), after, down, down_bias, y, Tensor());
  }

  const double flops = 2.0 * static_cast<double>(x.shape().rows() * hidden) * static_cast<double>(up.dim(1) + out);
  tape.record(op, y, flops, [x, up, up_bias, down, down_bias, before](const Context& context, const Tensor& dy) {
    // gelu(before) is computed again, in its place: it would be the largest of the saved tensors.
    const auto down_backward = [&] {
      linear_backward_parameters(context, dy, before, down.grad_target(), down_bias.grad_target());
    };
    if (!x.requires_grad() && !up.requires_grad() && !up_bias.requires_grad()) {
      run(context, before, [&](auto k) { k->unary(UnaryOp::gelu, before.numel(), k(before), k(before)); });
      return down_backward();
    }
    const bool bias_with_gelu = !backend(dy.device()).products_sum_operands;
    const Tensor d = Tensor::empty(before.shape(), before.dtype(), before.device());  // at gelu's result, then input
    linear_backward_input(context, dy, down, GradTarget(d, 0));
    gelu_backward(context, before, d, d, before, bias_with_gelu ? up_bias.grad_target() : GradTarget());
    down_backward();
    linear_backward_input(context, d, up, x.grad_target());
    linear_backward_parameters(context, d, x, up.grad_target(), bias_with_gelu ? GradTarget() : up_bias.grad_target());
  });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> feed_forward_samples() {
  const std::vector<Tensor> parameters{sample_input({4, 3}, 2), sample_input({4}, 3), sample_input({2, 4}, 4),
                                       sample_input({2}, 5)};
  const auto inputs = [&](const Shape& shape) {
    std::vector<Tensor> all{sample_input(shape, 1)};
    all.insert(all.end(), parameters.begin(), parameters.end());
    return all;
  };
  const auto run = [](Tape& tape, std::span<const Tensor> in) {
    return feed_forward(tape, in[0], in[1], in[2], in[3], in[4]);
  };
  const auto without_biases = [](Tape& tape, std::span<const Tensor> in) {
    return feed_forward(tape, in[0], in[1], Tensor(), in[2], Tensor());
  };
  return {
      {"matrix", inputs({5, 3}), run},
      {"one row", inputs({1, 3}), run},
      {"no rows", inputs({0, 3}), run},
      {"three dimensions", inputs({2, 2, 3}), run},
      {"without biases", {sample_input({5, 3}, 6), parameters[0], parameters[2]}, without_biases},
  };
}

}  // namespace

const Op feed_forward_op{"feed_forward", feed_forward_samples};

}  // namespace crisp
