// Tensors one after the other along an axis.
#include <fmt/format.h>

#include "engine/host_memory.h"
#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/axis.h"

namespace crisp {

extern const Op concat_op;

Tensor concat(Tape& tape, std::span<const Tensor> parts, int axis) {
  if (parts.empty()) fail_operands(tape, concat_op, "there are no parts", {});
  const Tensor& first = parts[0];
  check_same_type(tape, concat_op, {{"part 0", first}});
  const AxisSplit s = split_axis(tape, concat_op, first, axis);
  int64_t total = 0;
  Shape shape;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Tensor& part = parts[i];
    const std::string role = fmt::format("part {}", i);
    check_same_type(tape, concat_op, {{role.c_str(), part}});
    check_same_type(tape, concat_op, {{"part 0", first}, {role.c_str(), part}});
    if (part.rank() != first.rank() || part.shape().with(s.axis, 0) != first.shape().with(s.axis, 0))
      fail_operands(tape, concat_op, fmt::format("shapes differ outside axis {}", axis),
                    {{"part 0", first}, {role.c_str(), part}});
    total += part.dim(s.axis);
    shape = first.shape().with(s.axis, total);
  }
  const Tensor y = tape.output(concat_op, shape, first.dtype(), parts);
  const int64_t row = total * s.inner;
  run(tape, y, [&](auto k) {
    auto* to = k(y);
    for (const Tensor& part : parts) {
      const int64_t width = part.dim(s.axis) * s.inner;
      k->copy_2d(s.outer, width, k(part), width, to, row, 0);
      to += width;
    }
  });
  std::vector<Tensor, CachedAlloc<Tensor>> inputs;  // a training step asks the system for nothing
  inputs.reserve(parts.size());
  for (const Tensor& part : parts) inputs.push_back(part.without_values());
  tape.record(concat_op, y, 0, [inputs = std::move(inputs), s, row](const Context& context, const Tensor& dy) {
    run(context, dy, [&](auto k) {
      const auto* from = k(dy);
      for (const Tensor& part : inputs) {
        const int64_t width = part.dim(s.axis) * s.inner;
        if (const GradTarget d = part.grad_target()) k->copy_2d(s.outer, width, from, row, k(d), width, d.beta);
        from += width;
      }
    });
  });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> concat_samples() {
  const auto along = [](int axis) {
    return [axis](Tape& t, std::span<const Tensor> in) { return concat(t, in, axis); };
  };
  return {
      {"rows", {sample_input({2, 3}, 1), sample_input({4, 3}, 2)}, along(0)},
      {"columns", {sample_input({3, 2}, 3), sample_input({3, 1}, 4), sample_input({3, 4}, 5)}, along(-1)},
      {"middle", {sample_input({2, 1, 3}, 6), sample_input({2, 2, 3}, 7)}, along(1)},
      {"with an empty part", {sample_input({0, 3}, 8), sample_input({2, 3}, 9)}, along(0)},
      {"one part", {sample_input({2, 3}, 10)}, along(0)},
  };
}

}  // namespace

const Op concat_op{"concat", concat_samples};

}  // namespace crisp
