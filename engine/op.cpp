#include "engine/op.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "engine/error.h"
#include "engine/ops.h"

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

void check_rows(const Tape& tape, const Op& op, const char* role, const Rows& rows, int64_t limit, Device device) {
  if (!rows || !rows.ids().device) fail_operands(tape, op, fmt::format("{} are missing: see upload()", role), {});
  if (rows.device() != device)
    fail_operands(tape, op, fmt::format("{} must be on the {}", role, name_of(device)), {{role, rows.ids().device}});
  if (rows.size() == 0 || rows.distinct().host.back() < limit) return;
  const auto& ids = rows.ids().host;
  const auto bad = std::find_if(ids.begin(), ids.end(), [&](int32_t id) { return id >= limit; });
  fail_operands(tape, op, fmt::format("{}[{}] = {} is outside 0..{}", role, bad - ids.begin(), *bad, limit - 1), {});
}

Tensor filled(const Context& context, const Shape& shape, DType dtype, double value, Device device) {
  const Tensor t = Tensor::empty(shape, dtype, device);
  run(context, t, [&](auto k) { k->fill(t.numel(), value, k(t)); });
  return t;
}

void add_in_place(const Context& context, const Tensor& sum, const Tensor& x) {
  run(context, sum, [&](auto k) { k->scale(x.numel(), 1, k(x), k(sum), 1); });
}

}  // namespace crisp
