// Rows of a table, looked up by id. Saves the plan of the lookups alone.
#include <algorithm>
#include <array>

#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/rows.h"

namespace crisp {

extern const Op embedding_op;

namespace {

// The rows of two gradients of a table together, and how their sum is made: SumRowsCall.
struct Union {
  std::shared_ptr<Integers> rows = std::allocate_shared<Integers>(CachedAlloc<Integers>());
  Integers starts, old_of;

  Union(const Integers& old, const Rows& added, Device device) {
    const auto &a = old.host, &b = added.distinct().host;
    for (auto* array : {rows.get(), &starts, &old_of}) array->host.reserve(a.size() + b.size() + 1);
    size_t i = 0, j = 0;
    while (i < a.size() || j < b.size()) {
      const bool has_old = j == b.size() || (i < a.size() && a[i] <= b[j]);
      const bool has_new = i == a.size() || (j < b.size() && b[j] <= a[i]);
      rows->host.push_back(has_old ? a[i] : b[j]);
      old_of.host.push_back(has_old ? static_cast<int32_t>(i) : -1);
      starts.host.push_back(added.starts().host[j]);
      i += has_old;
      j += has_new;
    }
    starts.host.push_back(static_cast<int32_t>(added.size()));
    upload_integers(device, std::array{rows.get(), &starts, &old_of});
  }
};

}  // namespace

void add_row_gradients(const Context& context, const Tensor& table, const Rows& rows, const Tensor& dy) {
  if (!table.requires_grad()) return;
  const int64_t count = rows.distinct().size(), dim = table.dim(1);
  const Gradient& old = table.gradient();
  if (!old.by_rows()) {
    const GradTarget d = table.grad_target();
    run(context, dy, [&](auto k) {
      if (d.beta == 0) k->fill(table.numel(), 0, k(d));
      k->sum_rows({.count = count,
                   .cols = dim,
                   .starts = k(rows.starts()),
                   .order = k(rows.order()),
                   .x = k(dy),
                   .to = k(rows.distinct()),
                   .out = k(d),
                   .beta = d.beta});
    });
  } else if (!old) {
    const Tensor values = Tensor::empty({count, dim}, dy.dtype(), dy.device());
    run(context, dy, [&](auto k) {
      k->sum_rows({.count = count,
                   .cols = dim,
                   .starts = k(rows.starts()),
                   .order = k(rows.order()),
                   .x = k(dy),
                   .out = k(values)});
    });
    table.set_grad_rows(rows.shared_distinct(), values);
  } else {
    const Union both(old.rows(), rows, dy.device());
    const Tensor values = Tensor::empty({both.rows->size(), dim}, dy.dtype(), dy.device());
    run(context, dy, [&](auto k) {
      k->sum_rows({.count = both.rows->size(),
                   .cols = dim,
                   .starts = k(both.starts),
                   .order = k(rows.order()),
                   .x = k(dy),
                   .out = k(values),
                   .old_of = k(both.old_of),
                   .old = k(old.values())});
    });
    table.set_grad_rows(both.rows, values);
  }
}

Tensor embedding(Tape& tape, const Tensor& table, const Rows& rows) {
  check_same_type(tape, embedding_op, {{"table", table}});
  if (table.rank() != 2) fail_operands(tape, embedding_op, "the table needs two dimensions", {{"table", table}});
  check_rows(tape, embedding_op, "ids", rows, table.dim(0), table.device());
  std::array<int64_t, Shape::max_rank + 1> dims{};
  const std::span<const int64_t> of_ids = rows.shape().dims();
  std::copy(of_ids.begin(), of_ids.end(), dims.begin());
  dims[of_ids.size()] = table.dim(1);
  const Shape shape(std::span<const int64_t>(dims).first(of_ids.size() + 1));
  const Tensor y = tape.output(embedding_op, shape, table.dtype(), {table});
  run(tape, y, [&](auto k) { k->gather_rows(rows.size(), table.dim(1), k(rows.ids()), k(table), k(y), 0); });
  tape.record(embedding_op, y, 0, [table = table.without_values(), rows](const Context& context, const Tensor& dy) {
    add_row_gradients(context, table, rows, dy);
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
