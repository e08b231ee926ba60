// The maximum over one axis. Where several elements are largest, the first one gets the gradient.
#include <limits>

#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/axis.h"

namespace crisp {
namespace {

std::vector<Sample> max_samples() {
  return {
      {"first axis", {sample_input({3, 4}, 1)}, [](Tape& t, auto in) { return max(t, in[0], 0); }},
      {"middle axis", {sample_input({2, 3, 4}, 2)}, [](Tape& t, auto in) { return max(t, in[0], 1); }},
      {"last axis", {sample_input({3, 5}, 3)}, [](Tape& t, auto in) { return max(t, in[0], -1); }},
      {"one row", {sample_input({1, 5}, 4)}, [](Tape& t, auto in) { return max(t, in[0], 0); }},
      {"no rows", {sample_input({0, 5}, 5)}, [](Tape& t, auto in) { return max(t, in[0], 1); }},
  };
}

}  // namespace

extern const Op max_op{"max", max_samples};

Tensor max(Tape& tape, const Tensor& x, int axis) {
  check_same_type(tape, max_op, {{"x", x}});
  const AxisSplit s = split_axis(tape, max_op, x, axis);
  if (s.n == 0) fail_operands(tape, max_op, fmt::format("axis {} is empty and has no maximum", axis), {{"x", x}});
  if (s.n > std::numeric_limits<int32_t>::max())
    fail_operands(tape, max_op, fmt::format("axis {} has more than 2^31 - 1 elements", axis), {{"x", x}});
  const Device device = x.device();
  const Tensor out = tape.output(max_op, without_axis(x, s.axis), x.dtype(), {x});
  const Tensor index = Tensor::empty(out.shape(), DType::i32, device);
  with_type(x, [&]<class T>() {
    need(kernels<T>(device).max, "max", device)(nullptr, s.outer, s.n, s.inner, x.data<T>(), out.data<T>(),
                                                index.data<int32_t>());
  });
  tape.record(max_op, out, static_cast<double>(x.numel()),
              [x = x.without_values(), index, s, device](const Tensor& dy) {
                if (const GradTarget dx = x.grad_target()) {
                  with_type(dy, [&]<class T>() {
                    need(kernels<T>(device).max_backward, "max_backward", device)(
                        nullptr, s.outer, s.n, s.inner, dy.data<T>(), index.data<int32_t>(), dx.data<T>(), dx.beta);
                  });
                }
              });
  return out;
}

}  // namespace crisp
