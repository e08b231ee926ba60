// Multiplication by a constant.
#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {
namespace {

std::vector<Sample> scale_samples() {
  return {
      {"matrix", {sample_input({3, 4}, 1)}, [](Tape& t, auto in) { return scale(t, in[0], -2.5); }},
      {"by zero", {sample_input({3}, 2)}, [](Tape& t, auto in) { return scale(t, in[0], 0); }},
      {"no rows", {sample_input({0, 4}, 3)}, [](Tape& t, auto in) { return scale(t, in[0], 3); }},
  };
}

}  // namespace

extern const Op scale_op{"scale", scale_samples};

Tensor scale(Tape& tape, const Tensor& x, double factor) {
  check_same_type(tape, scale_op, {{"x", x}});
  const Device device = x.device();
  const Tensor out = tape.output(scale_op, x.shape(), x.dtype(), {x});
  with_type(x, [&]<class T>() {
    need(kernels<T>(device).scale, "scale", device)(nullptr, x.numel(), factor, x.data<T>(), out.data<T>(), 0);
  });
  tape.record(scale_op, out, static_cast<double>(x.numel()),
              [x = x.without_values(), factor, device](const Tensor& dy) {
                if (const GradTarget dx = x.grad_target()) {
                  with_type(dy, [&]<class T>() {
                    need(kernels<T>(device).scale, "scale", device)(nullptr, dy.numel(), factor, dy.data<T>(),
                                                                    dx.data<T>(), dx.beta);
                  });
                }
              });
  return out;
}

}  // namespace crisp
