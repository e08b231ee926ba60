// What attention() refuses.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/checked.h"
#include "engine/ops/attention.h"

namespace crisp {
namespace {

// The offsets in host memory.
Tensor checked_offsets(const Tape& tape, const Operand& offsets, const Operand& rows) {
  const Op& op = attention_op;
  const Tensor& t = offsets.tensor;
  const int64_t total = rows.tensor.dim(0);
  if (!t || t.dtype() != DType::i32 || t.rank() != 1 || t.dim(0) < 1)
    fail_operands(tape, op, fmt::format("{} must be i32 [batch + 1]", offsets.role), {offsets});
  if (t.device() != rows.tensor.device())
    fail_operands(tape, op, fmt::format("{} and {} are on different devices", offsets.role, rows.role),
                  {offsets, rows});
  const Tensor host = t.to(Device::cpu);
  const auto* o = host.data<int32_t>();
  for (int64_t s = 0; s + 1 < t.dim(0); ++s)
    if (o[s + 1] < o[s]) fail_operands(tape, op, fmt::format("{} decrease at {}", offsets.role, s + 1), {offsets});
  if (o[0] != 0 || o[t.dim(0) - 1] != total)
    fail_operands(tape, op, fmt::format("{} must run from 0 to {}", offsets.role, total), {offsets, rows});
  return host;
}

// Where each sequence's weights [heads, n_q, n_k] lie, [batch + 1] in host memory, from host offsets.
Tensor weight_offsets_of(const int32_t* q, const int32_t* kv, int64_t batch, int64_t heads) {
  const Tensor offsets = Tensor::empty({batch + 1}, DType::i32);
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  int64_t total = 0;
  for (int64_t b = 0; b <= batch; ++b) {
    if (total > most)
      fail("attention: more than {} (query, key) pairs of all heads in one batch of {} sequences; make it smaller",
           most, batch);
    offsets.data<int32_t>()[b] = static_cast<int32_t>(total);
    if (b == batch) break;
    const int64_t n_q = q[b + 1] - q[b], n_k = kv[b + 1] - kv[b];
    if (n_q > 0 && n_k == 0) fail("attention: sequence {} has queries but no keys", b);
    total += std::min(checked_product(heads, n_q, n_k).value_or(most + 1), most + 1);
  }
  return offsets;
}

// The lists of keys: in order, none empty, none with a key that its sequence lacks.
void check_lists(const Tape& tape, const AttentionRule& rule, const AttentionOffsets& offsets, Device device) {
  const Operand starts_operand{"list_starts", rule.list_starts}, keys_operand{"list_keys", rule.list_keys};
  const auto complain = [&](const std::string& problem) {
    fail_operands(tape, attention_op, problem, {starts_operand, keys_operand});
  };
  for (const Operand& o : {starts_operand, keys_operand})
    if (!o.tensor || o.tensor.dtype() != DType::i32 || o.tensor.rank() != 1 || o.tensor.device() != device)
      complain(fmt::format("Selection::listed needs {}: i32, one dimension, on q's device", o.role));
  const int64_t batch = offsets.q.dim(0) - 1;
  const auto *q = offsets.q.data<int32_t>(), *kv = offsets.kv.data<int32_t>();
  const int64_t total_q = q[batch], lists = rule.list_starts.dim(0) - 1;
  if (lists != total_q && lists != rule.heads * total_q)
    complain(
        fmt::format("list_starts must have {} elements, one more than queries, or {}, one more than queries of heads",
                    total_q + 1, rule.heads * total_q + 1));
  const Tensor host_starts = rule.list_starts.to(Device::cpu), host_keys = rule.list_keys.to(Device::cpu);
  const auto *starts = host_starts.data<int32_t>(), *keys = host_keys.data<int32_t>();
  if (starts[0] != 0 || starts[lists] != rule.list_keys.dim(0))
    complain(fmt::format("list_starts must run from 0 to {}", rule.list_keys.dim(0)));
  for (int64_t first = 0; first < lists; first += total_q) {
    for (int64_t b = 0; b < batch; ++b) {
      const int32_t n_k = kv[b + 1] - kv[b];
      for (int64_t row = first + q[b]; row < first + q[b + 1]; ++row) {
        if (starts[row + 1] <= starts[row]) complain(fmt::format("list {} is empty: a query needs a key", row));
        if (starts[row + 1] > starts[lists])
          complain(fmt::format("list {} ends at {}, but there are {} keys", row, starts[row + 1], starts[lists]));
        for (int64_t t = starts[row]; t < starts[row + 1]; ++t) {
          if (keys[t] < 0 || keys[t] >= n_k)
            complain(fmt::format("list {} has key {} in a sequence of {} keys", row, keys[t], n_k));
          if (t > starts[row] && keys[t] <= keys[t - 1])
            complain(fmt::format("list {}: keys must increase, but {} follows {}", row, keys[t], keys[t - 1]));
        }
      }
    }
  }
}

}  // namespace

AttentionOffsets check_attention(const Tape& tape, const AttentionOperands& x, const AttentionRule& rule) {
  const Op& op = attention_op;
  const auto complain = [&](const std::string& problem) {
    fail_operands(tape, op, problem,
                  {{"q", x.q}, {"k", x.k}, {"v", x.v}, {"q_offsets", x.q_offsets}, {"kv_offsets", x.kv_offsets}});
  };
  check_same_type(tape, op, {{"q", x.q}, {"k", x.k}, {"v", x.v}, {"span", rule.span}});
  if (!x.q || !x.k || !x.v) complain("q, k and v are needed");
  if (x.q.rank() != 2 || x.k.rank() != 2 || x.k.shape() != x.v.shape() || x.q.dim(1) != x.k.dim(1))
    complain("q must be [total_q, dim], k and v [total_k, dim]");
  if (rule.heads < 1 || x.q.dim(1) % rule.heads != 0)
    complain(fmt::format("dim does not divide into {} heads", rule.heads));
  if (!(rule.sparsity >= 0 && rule.sparsity < 1)) complain(fmt::format("sparsity {} is outside [0, 1)", rule.sparsity));
  if (std::isnan(rule.threshold)) complain("the threshold is not a number");
  if (!(rule.drop_p >= 0 && rule.drop_p <= 1)) complain(fmt::format("drop_p {} is outside [0, 1]", rule.drop_p));
  if (!(rule.key_dropout.p >= 0 && rule.key_dropout.p < 1))
    complain("the probability of key dropout must lie in [0, 1)");
  if (!(rule.dropout.p >= 0 && rule.dropout.p < 1)) complain("the dropout probability must lie in [0, 1)");
  if (rule.span) {
    const Operand span{"span", rule.span};
    if (rule.span.shape() != Shape{rule.heads}) fail_operands(tape, op, "span must be [heads]", {span});
    if (!(rule.span_ramp > 0 && std::isfinite(rule.span_ramp)))
      fail_operands(tape, op, fmt::format("span_ramp must be a positive number, not {}", rule.span_ramp), {span});
    if (rule.selection != Selection::all || rule.normaliser != Normaliser::softmax)
      fail_operands(tape, op, "a span goes with Selection::all and softmax only", {span});
  }
  AttentionOffsets offsets{.q = checked_offsets(tape, {"q_offsets", x.q_offsets}, {"q", x.q}),
                           .kv = checked_offsets(tape, {"kv_offsets", x.kv_offsets}, {"k", x.k}),
                           .weights = {}};
  if (x.q_offsets.dim(0) != x.kv_offsets.dim(0)) complain("q_offsets and kv_offsets are for different batch sizes");
  const int64_t batch = x.q_offsets.dim(0) - 1;
  const auto *q_rows = offsets.q.data<int32_t>(), *kv_rows = offsets.kv.data<int32_t>();
  // Else the gradients of one sequence's queries and of another's keys would meet in one row.
  if ((x.q.same_as(x.k) || x.q.same_as(x.v)) && !std::equal(q_rows, q_rows + batch + 1, kv_rows))
    complain("where one tensor is queries and keys or values, q_offsets and kv_offsets must be equal");
  offsets.weights = weight_offsets_of(q_rows, kv_rows, batch, rule.heads);
  if (rule.selection == Selection::listed) check_lists(tape, rule, offsets, x.q.device());
  return offsets;
}

}  // namespace crisp
