// Sums over one axis or over everything; the recording that sum and mean share.
#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/axis.h"

namespace crisp {
namespace {

std::vector<Sample> sum_samples() {
  return {
      {"all", {sample_input({3, 4}, 1)}, [](Tape& t, auto in) { return sum(t, in[0]); }},
      {"first axis", {sample_input({3, 4}, 2)}, [](Tape& t, auto in) { return sum(t, in[0], 0); }},
      {"middle axis", {sample_input({2, 3, 4}, 3)}, [](Tape& t, auto in) { return sum(t, in[0], 1); }},
      {"last axis", {sample_input({2, 3, 4}, 4)}, [](Tape& t, auto in) { return sum(t, in[0], -1); }},
      {"one row", {sample_input({1, 5}, 5)}, [](Tape& t, auto in) { return sum(t, in[0], 0); }},
      {"no rows", {sample_input({0, 5}, 6)}, [](Tape& t, auto in) { return sum(t, in[0], 0); }},
  };
}

}  // namespace

extern const Op sum_op{"sum", sum_samples};

Tensor reduce(Tape& tape, const Op& op, ReduceOp kind, const Tensor& x, const AxisSplit& s, const Shape& shape) {
  const Tensor out = tape.output(op, shape, x.dtype(), {x});
  const Device device = x.device();
  with_type(x, [&]<class T>() {
    need(kernels<T>(device).reduce, "reduce", device)(nullptr, kind, s.outer, s.n, s.inner, x.data<T>(), out.data<T>());
  });
  tape.record(op, out, static_cast<double>(x.numel()), [x = x.without_values(), s, kind, device](const Tensor& dy) {
    if (const GradTarget dx = x.grad_target()) {
      with_type(dy, [&]<class T>() {
        need(kernels<T>(device).reduce_backward, "reduce_backward", device)(nullptr, kind, s.outer, s.n, s.inner,
                                                                            dy.data<T>(), dx.data<T>(), dx.beta);
      });
    }
  });
  return out;
}

Tensor sum(Tape& tape, const Tensor& x, int axis) {
  check_same_type(tape, sum_op, {{"x", x}});
  const AxisSplit s = split_axis(tape, sum_op, x, axis);
  return reduce(tape, sum_op, ReduceOp::sum, x, s, without_axis(x, s.axis));
}

Tensor sum(Tape& tape, const Tensor& x) {
  check_same_type(tape, sum_op, {{"x", x}});
  return reduce(tape, sum_op, ReduceOp::sum, x, {.n = x.numel()}, {});
}

}  // namespace crisp
