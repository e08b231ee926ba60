// Rows of a table, looked up by id.
#include <algorithm>
#include <array>

#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/rows.h"

namespace crisp {

extern const Op embedding_op;

void add_row_gradients(const Context& context, const Tensor& table, const Tensor& ids, const Tensor& dy) {
  if (!table.requires_grad()) return;
  const int64_t n = ids.numel(), rows = table.dim(0), dim = table.dim(1);
  const Gradient& old = table.gradient();
  if (!old.by_rows()) {
    const GradTarget d = table.grad_target();
    run(context, dy, [&](auto k) { k->scatter_rows(n, rows, dim, k.ids(ids), k(dy), k(d), d.beta); });
    return;
  }
  const int64_t old_n = old ? old.rows().dim(0) : 0;
  const Tensor union_ids = Tensor::empty({old_n + n}, DType::i32, dy.device());
  const Tensor values = Tensor::empty({old_n + n, dim}, dy.dtype(), dy.device());
  int64_t count = 0;
  run(context, dy, [&](auto k) {
    count = k->accumulate_rows(n, rows, dim, k.ids(ids), k(dy), old_n, k.ids(old.rows()), k(old.values()),
                               k.ids(union_ids), k(values));
  });
  table.set_grad_rows(union_ids.view_rows(0, count), values.view_rows(0, count));
}

Tensor embedding(Tape& tape, const Tensor& table, const Tensor& ids) {
  check_same_type(tape, embedding_op, {{"table", table}});
  if (table.rank() != 2) fail_operands(tape, embedding_op, "the table needs two dimensions", {{"table", table}});
  const int64_t rows = table.dim(0), dim = table.dim(1);
  check_ids(tape, embedding_op, {"ids", ids}, rows, table.device());
  std::array<int64_t, Shape::max_rank + 1> dims{};
  std::copy(ids.shape().dims().begin(), ids.shape().dims().end(), dims.begin());
  const auto rank = static_cast<size_t>(ids.rank());
  dims[rank] = dim;
  const int64_t n = ids.numel();
  const Tensor y =
      tape.output(embedding_op, Shape(std::span<const int64_t>(dims).first(rank + 1)), table.dtype(), {table});
  run(tape, y, [&](auto k) { k->gather_rows(n, dim, k.ids(ids), k(table), k(y), 0); });
  tape.record(embedding_op, y, 0, [table = table.without_values(), ids](const Context& context, const Tensor& dy) {
    add_row_gradients(context, table, ids, dy);
  });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> embedding_samples() {
  const auto run = [](Tape& t, std::span<const Tensor> in) { return embedding(t, in[0], in[1]); };
  return {
      {"repeated ids", {sample_input({5, 3}, 1), sample_ids({4, 0, 4, 2, 4, 0})}, run},
      {"one id", {sample_input({5, 3}, 2), sample_ids({3})}, run},
      {"no ids", {sample_input({5, 3}, 3), sample_ids({})}, run},
  };
}

}  // namespace

const Op embedding_op{"embedding", embedding_samples};

}  // namespace crisp
