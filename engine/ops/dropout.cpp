// Dropout. The mask is a function of (key, element) and is drawn again for the backward pass instead of being stored.
#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {
namespace {

std::vector<Sample> dropout_samples() {
  const auto with = [](double p) {
    return [p](Tape& t, std::span<const Tensor> in) {
      return dropout(t, in[0], {p, {.seed = 7, .stream = Stream::dropout, .step = 3, .site = 1}});
    };
  };
  return {
      {"p = 0.5", {sample_input({5, 7}, 1)}, with(0.5)},
      {"p = 0.1", {sample_input({5, 7}, 2)}, with(0.1)},
      {"no rows", {sample_input({0, 7}, 3)}, with(0.1)},
  };
}

}  // namespace

extern const Op dropout_op{"dropout", dropout_samples};

Tensor dropout(Tape& tape, const Tensor& x, const Dropout& rule) {
  check_same_type(tape, dropout_op, {{"x", x}});
  if (!(rule.p >= 0 && rule.p < 1))
    fail_operands(tape, dropout_op, fmt::format("probability {} is outside [0, 1)", rule.p), {{"x", x}});
  if (rule.p == 0) return x;
  const Device device = x.device();
  const Tensor out = tape.output(dropout_op, x.shape(), x.dtype(), {x});
  with_type(x, [&]<class T>() {
    need(kernels<T>(device).dropout, "dropout", device)(nullptr, x.numel(), rule, x.data<T>(), out.data<T>(), 0);
  });
  tape.record(dropout_op, out, static_cast<double>(x.numel()),
              [x = x.without_values(), rule, device](const Tensor& dy) {
                if (const GradTarget dx = x.grad_target()) {
                  with_type(dy, [&]<class T>() {
                    need(kernels<T>(device).dropout, "dropout", device)(nullptr, dy.numel(), rule, dy.data<T>(),
                                                                        dx.data<T>(), dx.beta);
                  });
                }
              });
  return out;
}

}  // namespace crisp
