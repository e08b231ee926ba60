// Rows of a table, looked up by id.
#include <algorithm>
#include <array>

#include "engine/op.h"
#include "engine/ops.h"

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

Tensor embedding(Tape& tape, const Tensor& table, const Tensor& ids) {
  check_same_type(tape, embedding_op, {{"table", table}});
  if (table.rank() != 2) fail_operands(tape, embedding_op, "the table needs two dimensions", {{"table", table}});
  const int64_t rows = table.dim(0), dim = table.dim(1);
  check_ids(tape, embedding_op, {"ids", ids}, rows);
  if (ids.device() != table.device())
    fail_operands(tape, embedding_op, "devices differ", {{"table", table}, {"ids", ids}});
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
  tape.record(embedding_op, out, 0, [table, ids, n, rows, dim, device](const Tensor& dy) {
    if (const GradTarget d = table.grad_target()) {
      with_type(dy, [&]<class T>() {
        need(kernels<T>(device).scatter_rows, "scatter_rows", device)(nullptr, n, rows, dim, ids.data<int32_t>(),
                                                                      dy.data<T>(), d.data<T>(), d.beta);
      });
    }
  });
  return out;
}

}  // namespace crisp
