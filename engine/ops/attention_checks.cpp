// What attention() refuses.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "engine/checked.h"
#include "engine/ops/attention.h"

namespace crisp {

void check_attention(const Tape& tape, const AttentionOperands& operands, const Segments& segments,
                     const AttentionRule& rule) {
  using Form = AttentionOperands::Form;
  const Op& op = attention_op;
  const Form form = operands.form;
  const Tensor &q = operands.q, &k = operands.k, &v = operands.v, own_k = operands.own_k(), own_v = operands.own_v();
  const Operand q_operand{form == Form::qkv ? "qkv" : "q", q}, k_operand{form == Form::kv ? "kv" : "k", own_k},
      v_operand{"v", own_v};
  const auto complain = [&](const std::string& problem) {
    fail_operands(tape, op, problem, {q_operand, k_operand, v_operand});
  };
  check_same_type(tape, op, {q_operand, k_operand, v_operand, {"span", rule.span}});
  switch (form) {
    case Form::apart:
      if (!q || !k || !v) complain("q, k and v are needed");
      if (q.rank() != 2 || k.rank() != 2 || k.shape() != v.shape() || q.dim(1) != k.dim(1))
        complain("q must be [total_q, dim], k and v [total_k, dim]");
      break;
    case Form::kv:
      if (!q || !k) complain("q and kv are needed");
      if (q.rank() != 2 || k.rank() != 2 || k.dim(1) != 2 * q.dim(1))
        complain("q must be [total_q, dim], kv [total_k, 2 dim]");
      break;
    case Form::qkv:
      if (q.rank() != 2 || q.dim(1) % 3 != 0) complain("qkv must be [total, 3 dim]");
      break;
  }
  const int64_t dim = operands.dim();
  if (rule.heads < 1 || dim % rule.heads != 0) complain(fmt::format("dim does not divide into {} heads", rule.heads));
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
  if (!segments || !segments.q_offsets().device) complain("the segments are missing: see upload()");
  if (segments.device() != q.device()) complain("the segments are on another device");
  if (segments.queries() != q.dim(0)) complain(fmt::format("q_offsets must run from 0 to {}", q.dim(0)));
  if (segments.keys() != k.dim(0)) complain(fmt::format("kv_offsets must run from 0 to {}", k.dim(0)));
  // Else the gradients of one sequence's queries and of another's keys would meet in one row.
  if ((q.same_as(k) || q.same_as(v)) && !segments.same())
    complain("where one tensor is queries and keys or values, q_offsets and kv_offsets must be equal");
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  if (checked_product(rule.heads, segments.pairs()).value_or(most + 1) > most)
    complain(fmt::format("more than {} (query, key) pairs of all heads in one batch of {} sequences; make it smaller",
                         most, segments.batch()));
  if (rule.selection != Selection::listed) return;
  if (!rule.lists || !rule.lists.keys().device) complain("Selection::listed needs lists of keys");
  if (rule.lists.keys().device.device() != q.device()) complain("the lists of keys are on another device");
  // Else a key could lie outside of its sequence.
  if (!(rule.lists.segments() == segments)) complain("the lists of keys were made for other segments");
  if (rule.lists.by_head() && rule.lists.heads() != rule.heads)
    complain(fmt::format("the lists of keys are for {} heads", rule.lists.heads()));
}

}  // namespace crisp
