#include "engine/ops/attention.h"

namespace crisp {
namespace {

// Sums per head of numbers per (sequence, head), as the kernel leaves them on the device.
template <class T>
Tensor sum_over_sequences(const Tensor& parts, int64_t batch, int64_t heads) {
  const Tensor sums = Tensor::zeros({heads}, DType::f64), host = parts.to(Device::cpu);
  for (int64_t i = 0; i < batch * heads; ++i) sums.data<double>()[i % heads] += host.data<T>()[i];
  return sums;
}

// Valid pairs and queries of every head.
void count_pairs(const int32_t* q, const int32_t* kv, int64_t batch, int64_t heads, AttentionStats& stats) {
  double pairs = 0, queries = 0;
  for (int64_t b = 0; b < batch; ++b) {
    const double n_q = q[b + 1] - q[b], n_k = kv[b + 1] - kv[b];
    pairs += n_q * n_k;
    queries += n_q;
  }
  stats.pairs = Tensor::full({heads}, DType::f64, pairs);
  stats.queries = Tensor::full({heads}, DType::f64, queries);
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

Tensor attention(Tape& tape, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                 const Tensor& kv_offsets, const AttentionRule& rule, AttentionStats* stats) {
  const Op& op = attention_op;
  const AttentionOffsets host = check_attention(tape, {q, k, v, q_offsets, kv_offsets}, rule);
  const int64_t batch = q_offsets.dim(0) - 1, heads = rule.heads;
  const int64_t total = host.weights.data<int32_t>()[batch];
  const Device device = q.device();
  const Tensor weight_offsets = host.weights.to(device), list_starts = rule.list_starts, list_keys = rule.list_keys;
  const Tensor span = rule.span;
  AttentionShape s{.batch = batch,
                   .heads = heads,
                   .head_dim = q.dim(1) / heads,
                   .q_offsets = q_offsets.data<int32_t>(),
                   .kv_offsets = kv_offsets.data<int32_t>(),
                   .weight_offsets = weight_offsets.data<int32_t>(),
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
    s.list_starts = list_starts.data<int32_t>();
    s.list_keys = list_keys.data<int32_t>();
    s.list_stride = list_starts.dim(0) - 1 == q.dim(0) ? 0 : q.dim(0);
  }
  const Tensor y = tape.output(op, q.shape(), q.dtype(), {q, k, v, span});
  const Tensor weights = Tensor::empty({total}, q.dtype(), device);
  const Tensor counts = by_lists(s) ? Tensor::empty({q.dim(0) * heads}, DType::i32, device) : Tensor();
  Tensor kept, entropy, log_kept;
  if (stats) {
    kept = Tensor::zeros({batch * heads}, DType::i32, device);
    entropy = Tensor::zeros({batch * heads}, DType::f64, device);
    log_kept = Tensor::zeros({batch * heads}, DType::f64, device);
  }
  run(tape, q, [&](auto kernel) {
    kernel->attention(s, {.q = kernel(q),
                          .k = kernel(k),
                          .v = kernel(v),
                          .span = kernel(span),
                          .weights = kernel(weights),
                          .counts = kernel.ids(counts),
                          .out = kernel(y),
                          .kept = kernel.ids(kept),
                          .entropy = kernel.f64(entropy),
                          .log_kept = kernel.f64(log_kept)});
  });
  if (stats) {
    stats->kept = sum_over_sequences<int32_t>(kept, batch, heads);
    stats->entropy = sum_over_sequences<double>(entropy, batch, heads);
    stats->log_kept = sum_over_sequences<double>(log_kept, batch, heads);
    count_pairs(host.q.data<int32_t>(), host.kv.data<int32_t>(), batch, heads, *stats);
  }

  s.list_starts = s.list_keys = nullptr;  // the weights and counts tell
  // Scores and the weighted sum: 2 head_dim FLOPs each for every pair of every head.
  const double flops = 4.0 * static_cast<double>(total) * static_cast<double>(s.head_dim);
  tape.record(op, y, flops,
              [q, k, v, span, q_offsets, kv_offsets, weight_offsets, weights, counts, s](const Context& context,
                                                                                         const Tensor& dy) {
                const GradTargets targets(q, k, v, span);
                const GradTarget &dq = targets[0], &dk = targets[1], &dv = targets[2], &dspan = targets[3];
                const Tensor sums = dspan ? Tensor::empty({s.batch * s.heads}, DType::f64, q.device()) : Tensor();
                run(context, dy, [&](auto kernel) {
                  kernel->attention_backward(s, {.q = kernel(q),
                                                 .k = kernel(k),
                                                 .v = kernel(v),
                                                 .span = kernel(span),
                                                 .weights = kernel(weights),
                                                 .counts = kernel.ids(counts),
                                                 .dout = kernel(dy),
                                                 .dq = kernel(dq),
                                                 .beta_q = dq.beta,
                                                 .dk = kernel(dk),
                                                 .beta_k = dk.beta,
                                                 .dv = kernel(dv),
                                                 .beta_v = dv.beta,
                                                 .dspan = kernel(dspan),
                                                 .beta_span = dspan.beta,
                                                 .span_sums = kernel.f64(sums)});
                });
                targets.add_up(context);
              });
  return y;
}

}  // namespace crisp
