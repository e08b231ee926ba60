// exp(x) normalised to sum 1 over each row.
#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {
namespace {

std::vector<Sample> softmax_samples() {
  const auto run = [](Tape& t, std::span<const Tensor> in) { return softmax(t, in[0]); };
  return {
      {"rows", {sample_input({3, 5}, 1)}, run, 1e-6},
      {"three dimensions", {sample_input({2, 2, 4}, 2)}, run, 1e-6},
      {"large numbers", {sample_input({2, 4}, 3, 1000)}, run, 1e-6},
      {"one row", {sample_input({1, 6}, 4)}, run, 1e-6},
      {"one column", {sample_input({3, 1}, 5)}, run, 1e-6},
      {"no rows", {sample_input({0, 5}, 6)}, run, 1e-6},
  };
}

}  // namespace

extern const Op softmax_op{"softmax", softmax_samples};

Tensor softmax(Tape& tape, const Tensor& x) {
  check_same_type(tape, softmax_op, {{"x", x}});
  if (x.rank() < 1) fail_operands(tape, softmax_op, "x needs at least one dimension", {{"x", x}});
  const int64_t rows = x.shape().rows(), cols = x.shape().last();
  const Device device = x.device();
  const Tensor y = tape.output(softmax_op, x.shape(), x.dtype(), {x});
  with_type(x, [&]<class T>() {
    need(kernels<T>(device).softmax, "softmax", device)(nullptr, rows, cols, x.data<T>(), y.data<T>());
  });
  tape.record(softmax_op, y, 4.0 * static_cast<double>(x.numel()),
              [x = x.without_values(), y, rows, cols, device](const Tensor& dy) {
                if (const GradTarget dx = x.grad_target()) {
                  with_type(dy, [&]<class T>() {
                    need(kernels<T>(device).softmax_backward, "softmax_backward", device)(
                        nullptr, rows, cols, y.data<T>(), dy.data<T>(), dx.data<T>(), dx.beta);
                  });
                }
              });
  return y;
}

}  // namespace crisp
