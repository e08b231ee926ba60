// Elementwise functions of one tensor: exp, log, sqrt, tanh, sigmoid, relu, erf, gelu. They differ in the kernel's
// formula, in whether the derivative is written in the input or in the output, and in where samples make sense.
#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {
namespace {

using Function = Tensor (*)(Tape&, const Tensor&);

std::vector<Sample> samples_of(Function f, double mean) {
  const auto run = [f](Tape& t, std::span<const Tensor> in) { return f(t, in[0]); };
  const double deviation = mean == 0 ? 1 : 0.3;
  return {
      {"matrix", {sample_input({3, 5}, 1, mean, deviation)}, run},
      {"scalar", {sample_input({}, 3, mean, deviation)}, run},
      {"no rows", {sample_input({0, 5}, 2, mean, deviation)}, run},
  };
}

enum class Saves { input, output };

Tensor unary(Tape& tape, const Op& op, UnaryOp kind, Saves saves, const Tensor& x) {
  check_same_type(tape, op, {{"x", x}});
  const Device device = x.device();
  const Tensor y = tape.output(op, x.shape(), x.dtype(), {x});
  with_type(x, [&]<class T>() {
    need(kernels<T>(device).unary, op.name, device)(nullptr, kind, x.numel(), x.data<T>(), y.data<T>());
  });
  // Holding y in its own node is no cycle: the tape destroys the node, not the tensor.
  const Tensor saved = saves == Saves::output ? y : x;
  tape.record(op, y, static_cast<double>(x.numel()),
              [x = x.without_values(), saved, saves, kind, device](const Tensor& dy) {
                if (const GradTarget dx = x.grad_target()) {
                  with_type(dy, [&]<class T>() {
                    const T* values = saved.data<T>();
                    need(kernels<T>(device).unary_backward, "unary_backward", device)(
                        nullptr, kind, dy.numel(), saves == Saves::input ? values : nullptr,
                        saves == Saves::output ? values : nullptr, dy.data<T>(), dx.data<T>(), dx.beta);
                  });
                }
              });
  return y;
}

}  // namespace

extern const Op exp_op{"exp", [] { return samples_of(exp, 0); }};
extern const Op log_op{"log", [] { return samples_of(log, 2); }};
extern const Op sqrt_op{"sqrt", [] { return samples_of(sqrt, 2); }};
extern const Op tanh_op{"tanh", [] { return samples_of(tanh, 0); }};
extern const Op sigmoid_op{"sigmoid", [] { return samples_of(sigmoid, 0); }};
extern const Op relu_op{"relu", [] { return samples_of(relu, 0); }};
extern const Op erf_op{"erf", [] { return samples_of(erf, 0); }};
extern const Op gelu_op{"gelu", [] { return samples_of(gelu, 0); }};

Tensor exp(Tape& tape, const Tensor& x) { return unary(tape, exp_op, UnaryOp::exp, Saves::output, x); }
Tensor log(Tape& tape, const Tensor& x) { return unary(tape, log_op, UnaryOp::log, Saves::input, x); }
Tensor sqrt(Tape& tape, const Tensor& x) { return unary(tape, sqrt_op, UnaryOp::sqrt, Saves::output, x); }
Tensor tanh(Tape& tape, const Tensor& x) { return unary(tape, tanh_op, UnaryOp::tanh, Saves::output, x); }
Tensor sigmoid(Tape& tape, const Tensor& x) { return unary(tape, sigmoid_op, UnaryOp::sigmoid, Saves::output, x); }
Tensor relu(Tape& tape, const Tensor& x) { return unary(tape, relu_op, UnaryOp::relu, Saves::input, x); }
Tensor erf(Tape& tape, const Tensor& x) { return unary(tape, erf_op, UnaryOp::erf, Saves::input, x); }
Tensor gelu(Tape& tape, const Tensor& x) { return unary(tape, gelu_op, UnaryOp::gelu, Saves::input, x); }

}  // namespace crisp
