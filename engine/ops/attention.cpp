#include <limits>

#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {
namespace {

std::vector<Sample> attention_samples() {
  const auto run = [](Tensor q_offsets, Tensor kv_offsets, AttentionRule rule) {
    return [=](Tape& tape, std::span<const Tensor> in) {
      return attention(tape, in[0], in[1], in[2], q_offsets, kv_offsets, rule);
    };
  };
  const auto rule = [](Selection selection, double sparsity, double p) {
    return AttentionRule{.heads = 2,
                         .scale = 0.7,
                         .selection = selection,
                         .sparsity = sparsity,
                         .dropout = {p, {.seed = 5, .stream = Stream::dropout}}};
  };
  const auto qkv = [](int64_t queries, int64_t keys) {
    return std::vector<Tensor>{sample_input({queries, 6}, 1), sample_input({keys, 6}, 2), sample_input({keys, 6}, 3)};
  };
  const Tensor offsets = sample_ids({0, 1, 6, 12});  // lengths 1, 5, 6
  const Tensor first_only = sample_ids({0, 1, 2, 3});
  return {
      {"dense", qkv(12, 12), run(offsets, offsets, rule(Selection::all, 0, 0)), 1e-6},
      {"dense with dropout", qkv(12, 12), run(offsets, offsets, rule(Selection::all, 0, 0.3)), 1e-6},
      {"top-k per row", qkv(12, 12), run(offsets, offsets, rule(Selection::top_k_row, 0.6, 0)), 1e-6},
      {"top-k with dropout", qkv(12, 12), run(offsets, offsets, rule(Selection::top_k_row, 0.4, 0.3)), 1e-6},
      {"percentile per head", qkv(12, 12), run(offsets, offsets, rule(Selection::percentile_head, 0.7, 0)), 1e-6},
      {"one tensor as queries, keys and values",
       {sample_input({12, 6}, 1)},
       [=](Tape& tape, std::span<const Tensor> in) {
         return attention(tape, in[0], in[0], in[0], offsets, offsets, rule(Selection::all, 0, 0.3));
       },
       1e-6},
      {"one query a sequence", qkv(3, 12), run(first_only, offsets, rule(Selection::top_k_row, 0.5, 0)), 1e-6},
      {"no sequences", qkv(0, 0), run(sample_ids({0}), sample_ids({0}), rule(Selection::all, 0, 0)), 1e-6},
  };
}

// The offsets in host memory: checked here once, so that the kernels can trust them.
Tensor checked_offsets(const Tape& tape, const Op& op, const Operand& offsets, const Operand& rows) {
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
  int64_t total = 0;
  for (int64_t b = 0; b <= batch; ++b) {
    if (total > std::numeric_limits<int32_t>::max())
      fail("attention: too many (query, key) pairs in one batch; make it smaller");
    offsets.data<int32_t>()[b] = static_cast<int32_t>(total);
    if (b == batch) break;
    const int64_t n_q = q[b + 1] - q[b], n_k = kv[b + 1] - kv[b];
    if (n_q > 0 && n_k == 0) fail("attention: sequence {} has queries but no keys", b);
    total += heads * n_q * n_k;
  }
  return offsets;
}

// Counts per (sequence, head), on the device, become sums per head.
AttentionStats sum_stats(const Tensor& kept, const Tensor& entropy, const int32_t* q, const int32_t* kv, int64_t batch,
                         int64_t heads) {
  AttentionStats stats;
  for (Tensor* t : {&stats.kept, &stats.pairs, &stats.entropy, &stats.queries}) *t = Tensor::zeros({heads}, DType::f64);
  const Tensor host_kept = kept.to(Device::cpu), host_entropy = entropy.to(Device::cpu);
  for (int64_t b = 0; b < batch; ++b) {
    const double n_q = q[b + 1] - q[b], n_k = kv[b + 1] - kv[b];
    for (int64_t h = 0; h < heads; ++h) {
      stats.kept.data<double>()[h] += host_kept.data<int32_t>()[b * heads + h];
      stats.pairs.data<double>()[h] += n_q * n_k;
      stats.entropy.data<double>()[h] += host_entropy.data<double>()[b * heads + h];
      stats.queries.data<double>()[h] += n_q;
    }
  }
  return stats;
}

}  // namespace

extern const Op attention_op{"attention", attention_samples};

Tensor attention(Tape& tape, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                 const Tensor& kv_offsets, const AttentionRule& rule, AttentionStats* stats) {
  const Op& op = attention_op;
  const auto complain = [&](const std::string& problem) {
    fail_operands(tape, op, problem,
                  {{"q", q}, {"k", k}, {"v", v}, {"q_offsets", q_offsets}, {"kv_offsets", kv_offsets}});
  };
  check_same_type(tape, op, {{"q", q}, {"k", k}, {"v", v}});
  if (!q || !k || !v) complain("q, k and v are needed");
  if (q.rank() != 2 || k.rank() != 2 || k.shape() != v.shape() || q.dim(1) != k.dim(1))
    complain("q must be [total_q, dim], k and v [total_k, dim]");
  if (rule.heads < 1 || q.dim(1) % rule.heads != 0)
    complain(fmt::format("dim does not divide into {} heads", rule.heads));
  if (!(rule.sparsity >= 0 && rule.sparsity < 1)) complain(fmt::format("sparsity {} is outside [0, 1)", rule.sparsity));
  if (!(rule.dropout.p >= 0 && rule.dropout.p < 1)) complain("the dropout probability must lie in [0, 1)");
  const Tensor host_q = checked_offsets(tape, op, {"q_offsets", q_offsets}, {"q", q});
  const Tensor host_kv = checked_offsets(tape, op, {"kv_offsets", kv_offsets}, {"k", k});
  if (q_offsets.dim(0) != kv_offsets.dim(0)) complain("q_offsets and kv_offsets are for different batch sizes");
  const int64_t batch = q_offsets.dim(0) - 1, heads = rule.heads;
  const auto *q_rows = host_q.data<int32_t>(), *kv_rows = host_kv.data<int32_t>();
  // Else the gradients of one sequence's queries and of another's keys would meet in one row.
  if ((q.same_as(k) || q.same_as(v)) && !std::equal(q_rows, q_rows + batch + 1, kv_rows))
    complain("where one tensor is queries and keys or values, q_offsets and kv_offsets must be equal");
  const Tensor host_weight_offsets = weight_offsets_of(q_rows, kv_rows, batch, heads);
  const int64_t total = host_weight_offsets.data<int32_t>()[batch];

  const Device device = q.device();
  const Tensor weight_offsets = host_weight_offsets.to(device);
  const AttentionShape s{.batch = batch,
                         .heads = heads,
                         .head_dim = q.dim(1) / heads,
                         .q_offsets = q_offsets.data<int32_t>(),
                         .kv_offsets = kv_offsets.data<int32_t>(),
                         .weight_offsets = weight_offsets.data<int32_t>(),
                         .scale = rule.scale,
                         .selection = rule.selection,
                         .sparsity = rule.sparsity,
                         .dropout = rule.dropout};
  const Tensor y = tape.output(op, q.shape(), q.dtype(), {q, k, v});
  const Tensor weights = Tensor::empty({total}, q.dtype(), device);
  const Tensor kept = stats ? Tensor::zeros({batch * heads}, DType::i32, device) : Tensor();
  const Tensor entropy = stats ? Tensor::zeros({batch * heads}, DType::f64, device) : Tensor();
  with_type(q, [&]<class T>() {
    need(kernels<T>(device).attention, "attention", device)(
        nullptr, s, q.data<T>(), k.data<T>(), v.data<T>(), weights.data<T>(), y.data<T>(),
        stats ? kept.data<int32_t>() : nullptr, stats ? entropy.data<double>() : nullptr);
  });
  if (stats) *stats = sum_stats(kept, entropy, q_rows, kv_rows, batch, heads);

  // Scores and the weighted sum: 2 head_dim FLOPs each for every pair of every head.
  const double flops = 4.0 * static_cast<double>(total) * static_cast<double>(s.head_dim);
  tape.record(op, y, flops, [q, k, v, q_offsets, kv_offsets, weight_offsets, weights, s](const Tensor& dy) {
    with_type(q, [&]<class T>() {
      const GradTarget dq = q.grad_target(), dk = k.grad_target(), dv = v.grad_target();
      need(kernels<T>(q.device()).attention_backward, "attention_backward", q.device())(
          nullptr, s, q.data<T>(), k.data<T>(), v.data<T>(), weights.data<T>(), dy.data<T>(), dq.data<T>(), dq.beta,
          dk.data<T>(), dk.beta, dv.data<T>(), dv.beta);
    });
  });
  return y;
}

}  // namespace crisp
