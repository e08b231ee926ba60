// y = activation(x weight' + bias). Saves x, weight and, with an activation, its input.
#include "engine/ops/linear.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op linear_op;

void linear_forward(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias, const Columns& y,
                    const Tensor& gelu_out) {
  run(context, x, [&](auto k) {
    k->gemm({.precision = k.precision,
             .trans_b = true,
             .m = x.shape().rows(),
             .n = weight.dim(0),
             .k = weight.dim(1),
             .a = k(x),
             .b = k(weight),
             .c = k(y.tensor) + y.first,
             .ldc = y.row(),
             .bias = k(bias),
             .gelu_out = k(gelu_out)});
  });
}

// dx = d weight
void linear_backward_input(const Context& context, const Columns& d, const Tensor& weight, const GradTarget& dx) {
  if (!dx) return;
  run(context, d.tensor, [&](auto k) {
    k->gemm({.precision = k.precision,
             .m = d.tensor.shape().rows(),
             .n = weight.dim(1),
             .k = weight.dim(0),
             .a = k(d.tensor) + d.first,
             .lda = d.row(),
             .b = k(weight),
             .c = k(dx),
             .beta = dx.beta});
  });
}

// dweight = d' x, dbias = column sums of d
void linear_backward_parameters(const Context& context, const Columns& d, const Tensor& x, const GradTarget& dweight,
                                const GradTarget& dbias) {
  const int64_t rows = d.tensor.shape().rows();
  run(context, d.tensor, [&](auto k) {
    if (dweight) {
      k->gemm({.precision = k.precision,
               .trans_a = true,
               .m = d.count,
               .n = x.shape().last(),
               .k = rows,
               .a = k(d.tensor) + d.first,
               .lda = d.row(),
               .b = k(x),
               .c = k(dweight),
               .beta = dweight.beta,
               .sum_squares = k.f64(dweight.sum_squares()),
               .a_sums = k(dbias),
               .beta_sums = dbias.beta,
               .beside = true});  // Tape::backward joins
    } else if (dbias) {
      k->column_sum(rows, d.count, k(d.tensor) + d.first, d.row(), k(dbias), dbias.beta);
    }
  });
}

void gelu_backward(const Context& context, const Tensor& before, const Tensor& dy, const Tensor& d, const Tensor& after,
                   const GradTarget& dbias) {
  run(context, before, [&](auto k) {
    k->gelu_backward(before.shape().rows(), before.shape().last(), k(before), k(dy), k(d), k(after), k(dbias),
                     dbias.beta);
  });
}

Tensor linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias, Activation activation) {
  const auto complain = [&](const char* problem) {
    fail_operands(tape, linear_op, problem, {{"x", x}, {"weight", weight}, {"bias", bias}});
  };
  check_same_type(tape, linear_op, {{"x", x}, {"weight", weight}, {"bias", bias}});
  if (!x || !weight) complain("x and weight are needed");
  if (x.rank() < 1 || weight.rank() != 2) complain("x must be [.., in] and weight [out, in]");
  if (x.shape().last() != weight.dim(1)) complain("inner dimensions differ");
  const int64_t rows = x.shape().rows(), in = weight.dim(1), out = weight.dim(0);
  if (bias && bias.shape() != Shape{out}) complain("bias must be [out]");

  const Tensor y = tape.output(linear_op, x.shape().with(-1, out), x.dtype(), {x, weight, bias});
  const bool gelu = activation == Activation::gelu;
  const Tensor before = gelu ? Tensor::empty(y.shape(), y.dtype(), y.device()) : Tensor();
  linear_forward(tape.context(), x, weight, bias, gelu ? before : y, gelu ? y : Tensor());

  const double flops = 2.0 * static_cast<double>(rows * in) * static_cast<double>(out);
  tape.record(linear_op, y, flops, [x, weight, bias, before](const Context& context, const Tensor& dy) {
    const bool bias_with_gelu = before && !backend(dy.device()).products_sum_operands;
    Tensor d = dy;  // the gradient at the product
    if (before) {
      d = Tensor::empty(dy.shape(), dy.dtype(), dy.device());
      gelu_backward(context, before, dy, d, Tensor(), bias_with_gelu ? bias.grad_target() : GradTarget());
    }
    linear_backward_input(context, d, weight, x.grad_target());
    linear_backward_parameters(context, d, x, weight.grad_target(), bias_with_gelu ? GradTarget() : bias.grad_target());
  });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> linear_samples() {
  const Tensor x = sample_input({5, 3}, 1), weight = sample_input({4, 3}, 2), bias = sample_input({4}, 3);
  const auto run = [](Activation activation) {
    return [activation](Tape& tape, std::span<const Tensor> in) {
      return linear(tape, in[0], in[1], in.size() > 2 ? in[2] : Tensor(), activation);
    };
  };
  return {
      {"with bias", {x, weight, bias}, run(Activation::none)},
      {"without bias", {x, weight}, run(Activation::none)},
      {"with gelu", {x, weight, bias}, run(Activation::gelu)},
      {"one row", {sample_input({1, 3}, 4), weight, bias}, run(Activation::gelu)},
      {"no rows", {sample_input({0, 3}, 5), weight, bias}, run(Activation::none)},
      {"three dimensions", {sample_input({2, 2, 3}, 6), weight, bias}, run(Activation::none)},
  };
}

}  // namespace

const Op linear_op{"linear", linear_samples};

}  // namespace crisp
