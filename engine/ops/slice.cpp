// A range of one axis.
#include <fmt/format.h>

#include <algorithm>

#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/axis.h"

namespace crisp {

extern const Op slice_op;

Tensor slice(Tape& tape, const Tensor& x, int axis, int64_t begin, int64_t count) {
  check_same_type(tape, slice_op, {{"x", x}});
  const AxisSplit s = split_axis(tape, slice_op, x, axis);
  if (begin < 0 || count < 0 || count > s.n || begin > s.n - count)
    fail_operands(tape, slice_op, fmt::format("{} elements from {} are outside axis {}", count, begin, axis),
                  {{"x", x}});
  const Tensor y = tape.output(slice_op, x.shape().with(s.axis, count), x.dtype(), {x});
  const int64_t outer = s.outer, row = s.n * s.inner;
  const int64_t width = count * s.inner, before = begin * s.inner, after = row - before - width;
  run(tape, y, [&](auto k) { k->copy_2d(outer, width, k(x) + before, row, k(y), width, 0); });
  tape.record(slice_op, y, 0,
              [x = x.without_values(), outer, width, row, before, after](const Context& context, const Tensor& dy) {
                const GradTarget dx = x.grad_target();
                if (!dx) return;
                run(context, dy, [&](auto k) {
                  k->copy_2d(outer, width, k(dy), width, k(dx) + before, row, dx.beta);
                  if (dx.beta != 0) return;
                  // A first contribution also writes what was cut away: zeros, one row of them read again and again
                  // (stride 0).
                  const Tensor zeros = Tensor::zeros({std::max(before, after)}, dy.dtype(), dy.device());
                  k->copy_2d(outer, before, k(zeros), 0, k(dx), row, 0);
                  k->copy_2d(outer, after, k(zeros), 0, k(dx) + before + width, row, 0);
                });
              });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> slice_samples() {
  return {
      {"rows", {sample_input({5, 3}, 1)}, [](Tape& t, auto in) { return slice(t, in[0], 0, 1, 3); }},
      {"columns", {sample_input({3, 6}, 2)}, [](Tape& t, auto in) { return slice(t, in[0], -1, 2, 3); }},
      {"middle", {sample_input({2, 4, 3}, 3)}, [](Tape& t, auto in) { return slice(t, in[0], 1, 0, 2); }},
      {"one row", {sample_input({4, 3}, 4)}, [](Tape& t, auto in) { return slice(t, in[0], 0, 3, 1); }},
      {"nothing", {sample_input({4, 3}, 5)}, [](Tape& t, auto in) { return slice(t, in[0], 0, 2, 0); }},
  };
}

}  // namespace

const Op slice_op{"slice", slice_samples};

}  // namespace crisp
