#include "engine/op.h"

#include <cstring>
#include <limits>

#include "engine/error.h"

namespace crisp {

Tensor sample_input(const Shape& shape, uint64_t seed, double mean, double deviation) {
  return Tensor::normal(shape, DType::f64, {.seed = seed, .stream = Stream::init}, mean, deviation).set_requires_grad();
}

Tensor sample_ids(std::initializer_list<int32_t> ids) {
  return Tensor::from(std::span(ids.begin(), ids.size()), {static_cast<int64_t>(ids.size())});
}

void fail_operands(const Tape& tape, const Op& op, const std::string& problem,
                   std::initializer_list<Operand> operands) {
  std::string text = fmt::format("{}: {}", op.name, problem);
  for (const auto& [role, tensor] : operands) {
    if (!tensor) continue;
    text += fmt::format("\n  {:<10} {:<14} {:<4} {}  {}", role, tensor.shape().str(), name_of(tensor.dtype()),
                        name_of(tensor.device()), tensor.label());
  }
  if (tape.scope()) text += "\n  in " + tape.scope()->path();
  throw Error(text);
}

void check_same_type(const Tape& tape, const Op& op, std::initializer_list<Operand> operands) {
  const Tensor* first = nullptr;
  for (const auto& [role, tensor] : operands) {
    if (!tensor) continue;
    if (tensor.dtype() != DType::f32 && tensor.dtype() != DType::f64)
      fail_operands(tape, op, fmt::format("{} must be f32 or f64", role), operands);
    if (first && tensor.dtype() != first->dtype()) fail_operands(tape, op, "dtypes differ", operands);
    if (first && tensor.device() != first->device()) fail_operands(tape, op, "devices differ", operands);
    if (!first) first = &tensor;
  }
  if (!first) fail_operands(tape, op, "an operand is missing", operands);
}

void check_ids(const Tape& tape, const Op& op, const Operand& ids, int64_t limit, Device device) {
  if (!ids.tensor || ids.tensor.dtype() != DType::i32)
    fail_operands(tape, op, fmt::format("{} must be an i32 tensor", ids.role), {ids});
  if (ids.tensor.device() != device)
    fail_operands(tape, op, fmt::format("{} must be on the {}", ids.role, name_of(device)), {ids});
  if (ids.tensor.numel() > std::numeric_limits<int32_t>::max())
    fail_operands(tape, op, fmt::format("{} are too many", ids.role), {ids});
  const Tensor host = ids.tensor.to(Device::cpu);
  const auto* values = host.data<int32_t>();
  for (int64_t i = 0; i < host.numel(); ++i)
    if (values[i] < 0 || values[i] >= limit)
      fail_operands(tape, op, fmt::format("{}[{}] = {} is outside 0..{}", ids.role, i, values[i], limit - 1), {ids});
}

void add_in_place(const Context& context, const Tensor& sum, const Tensor& x) {
  run(context, sum, [&](auto k) { k->scale(x.numel(), 1, k(x), k(sum), 1); });
}

}  // namespace crisp
