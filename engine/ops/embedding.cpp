// Rows of a table, looked up by id.
#include <algorithm>
#include <array>

#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/rows.h"

namespace crisp {
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

extern const Op embedding_op{"embedding", embedding_samples};

void add_row_gradients(const Tensor& table, const Tensor& ids, const Tensor& dy) {
  if (!table.requires_grad()) return;
  const int64_t n = ids.numel(), rows = table.dim(0), dim = table.dim(1);
  const Device device = table.device();
  with_type(table, [&]<class T>() {
    const Kernels<T>& k = kernels<T>(device);
    if (!table.has_row_gradient()) {
      const GradTarget d = table.grad_target();
      need(k.scatter_rows, "scatter_rows", device)(nullptr, n, rows, dim, ids.data<int32_t>(), dy.data<T>(),
                                                   d.data<T>(), d.beta);
      return;
    }
    const RowGradient old = table.row_grad();
    const int64_t old_n = old ? old.rows.dim(0) : 0;
    const Tensor ids_out = Tensor::empty({old_n + n}, DType::i32, device);
    const Tensor values = Tensor::empty({old_n + n, dim}, table.dtype(), device);
    const int64_t count = need(k.accumulate_rows, "accumulate_rows", device)(
        nullptr, n, rows, dim, ids.data<int32_t>(), dy.data<T>(), old_n, old ? old.rows.data<int32_t>() : nullptr,
        old ? old.values.data<T>() : nullptr, ids_out.data<int32_t>(), values.data<T>());
    table.set_row_grad({ids_out.view_rows(0, count), values.view_rows(0, count)});
  });
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
  const Device device = table.device();
  const Tensor out =
      tape.output(embedding_op, Shape(std::span<const int64_t>(dims).first(rank + 1)), table.dtype(), {table});
  with_type(table, [&]<class T>() {
    need(kernels<T>(device).gather_rows, "gather_rows", device)(nullptr, n, dim, ids.data<int32_t>(), table.data<T>(),
                                                                out.data<T>(), 0);
  });
  tape.record(embedding_op, out, 0, [table, ids](const Tensor& dy) { add_row_gradients(table, ids, dy); });
  return out;
}

}  // namespace crisp
