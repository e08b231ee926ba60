// Attention as one fused operation, forward and backward. Saves q, k, v, and what the kernel has found: the weights
// before dropout and, with a rule by lists, how many keys each row kept. What it computes stands in
// engine/attention_rule.h and, step by step, in engine/cpu/README.md.
#include "engine/ops/attention.h"

namespace crisp {
namespace {

// From what the kernel leaves for each (sequence, head): f64 [3, batch, heads].
AttentionStats summed_stats(const Context& context, const Tensor& parts, const Segments& segments) {
  const int64_t batch = parts.dim(1), heads = parts.dim(2);
  const Tensor sums = Tensor::empty({3, heads}, DType::f64, parts.device());
  run(context, parts, [&](auto k) { k->reduce(ReduceOp::sum, 3, batch, heads, k(parts), k(sums)); });
  const auto row = [&](int64_t i) { return sums.view_rows(i, 1).view({heads}); };
  return {row(0), row(1), row(2), segments.pairs(), segments.queries()};
}

// A sparsity that removes nothing is dense attention.
Selection effective_selection(const AttentionRule& rule) {
  switch (rule.selection) {
    case Selection::top_k_row:
    case Selection::top_k_ties:
    case Selection::percentile_head:
    case Selection::bottom_k:
      return rule.sparsity > 0 ? rule.selection : Selection::all;
    case Selection::drop_top:
      return rule.sparsity > 0 && rule.drop_p > 0 ? rule.selection : Selection::all;
    case Selection::all:
    case Selection::listed:
    case Selection::threshold:
      break;
  }
  return rule.selection;
}

}  // namespace

extern const Op attention_op{"attention", attention_samples};

namespace {

Tensor attention(Tape& tape, const AttentionOperands& in, const Segments& segments, const AttentionRule& rule,
                 AttentionStats* stats) {
  const Op& op = attention_op;
  check_attention(tape, in, segments, rule);
  const Tensor& q = in.q;
  const int64_t batch = segments.batch(), heads = rule.heads, total = heads * segments.pairs();
  const Device device = q.device();
  const Tensor span = rule.span;
  const auto ints = [](const Integers& a) { return a.device.data<int32_t>(); };
  AttentionShape s{.batch = batch,
                   .heads = heads,
                   .head_dim = in.dim() / heads,
                   .q_offsets = ints(segments.q_offsets()),
                   .kv_offsets = ints(segments.kv_offsets()),
                   .pair_offsets = ints(segments.pair_offsets()),
                   .queries = segments.queries(),
                   .keys = segments.keys(),
                   .pairs = segments.pairs(),
                   .q_row = q.dim(1),
                   .kv_row = in.k.dim(1),
                   .scale = rule.scale,
                   .selection = effective_selection(rule),
                   .sparsity = rule.sparsity,
                   .threshold = rule.threshold,
                   .drop_p = rule.drop_p,
                   .drop_key = rule.drop_key,
                   .keep_first = rule.keep_first,
                   .keep_last = rule.keep_last,
                   .keep_diagonal = rule.keep_diagonal,
                   .normaliser = rule.normaliser,
                   .key_dropout = rule.key_dropout,
                   .span_ramp = span ? rule.span_ramp : 0,
                   .dropout = rule.dropout};
  if (s.selection == Selection::listed) {
    s.list_starts = ints(rule.lists.starts());
    s.list_keys = ints(rule.lists.keys());
    s.list_stride = rule.lists.by_head() ? q.dim(0) : 0;
  }
  const Tensor y = tape.output(op, {q.dim(0), in.dim()}, q.dtype(), {q, in.k, in.v, span});
  const Tensor weights = Tensor::empty({total}, q.dtype(), device);
  const Tensor counts = by_lists(s) ? Tensor::empty({q.dim(0) * heads}, DType::i32, device) : Tensor();
  const Tensor parts = stats ? Tensor::empty({3, batch, heads}, DType::f64, device) : Tensor();
  run(tape, q, [&](auto kernel) {
    kernel->attention(s, {.q = kernel(q),
                          .k = kernel(in.k) + in.k_column(),
                          .v = kernel(in.v) + in.v_column(),
                          .span = kernel(span),
                          .weights = kernel(weights),
                          .counts = kernel.ids(counts),
                          .out = kernel(y),
                          .stats = kernel.f64(parts)});
  });
  if (stats) *stats = summed_stats(tape.context(), parts, segments);

  s.list_starts = s.list_keys = nullptr;  // the weights and counts tell
  // Scores and the weighted sum: 2 head_dim FLOPs each for every pair of every head.
  const double flops = 4.0 * static_cast<double>(total) * static_cast<double>(s.head_dim);
  tape.record(op, y, flops, [in, span, segments, weights, counts, s](const Context& context, const Tensor& dy) {
    const GradTargets targets(in.q, in.own_k(), in.own_v(), span);
    const bool with_q = in.form == AttentionOperands::Form::qkv, with_k = in.form != AttentionOperands::Form::apart;
    const GradTarget &dq = targets[0], &dk = with_q ? dq : targets[1], &dv = with_k ? dk : targets[2],
                     &dspan = targets[3];
    const Tensor sums = dspan ? Tensor::empty({s.batch * s.heads}, DType::f64, dy.device()) : Tensor();
    run(context, dy, [&](auto kernel) {
      const auto columns = [&](const GradTarget& d, int64_t first) { return d ? kernel(d) + first : nullptr; };
      kernel->attention_backward(s, {.q = kernel(in.q),
                                     .k = kernel(in.k) + in.k_column(),
                                     .v = kernel(in.v) + in.v_column(),
                                     .span = kernel(span),
                                     .weights = kernel(weights),
                                     .counts = kernel.ids(counts),
                                     .dout = kernel(dy),
                                     .dq = kernel(dq),
                                     .beta_q = dq.beta,
                                     .dk = columns(dk, in.k_column()),
                                     .beta_k = dk.beta,
                                     .dv = columns(dv, in.v_column()),
                                     .beta_v = dv.beta,
                                     .dspan = kernel(dspan),
                                     .beta_span = dspan.beta,
                                     .span_sums = kernel.f64(sums)});
    });
    targets.add_up(context);
  });
  return y;
}

}  // namespace

Tensor attention(Tape& tape, const Tensor& q, const Tensor& k, const Tensor& v, const Segments& segments,
                 const AttentionRule& rule, AttentionStats* stats) {
  return attention(tape, {AttentionOperands::Form::apart, q, k, v}, segments, rule, stats);
}
Tensor attention(Tape& tape, const Tensor& q, const Tensor& kv, const Segments& segments, const AttentionRule& rule,
                 AttentionStats* stats) {
  return attention(tape, {AttentionOperands::Form::kv, q, kv, kv}, segments, rule, stats);
}
Tensor attention(Tape& tape, const Tensor& qkv, const Segments& segments, const AttentionRule& rule,
                 AttentionStats* stats) {
  return attention(tape, {AttentionOperands::Form::qkv, qkv, qkv, qkv}, segments, rule, stats);
}

}  // namespace crisp
