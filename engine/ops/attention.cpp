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
      {"one query a sequence", qkv(3, 12), run(first_only, offsets, rule(Selection::top_k_row, 0.5, 0)), 1e-6},
      {"no sequences", qkv(0, 0), run(sample_ids({0}), sample_ids({0}), rule(Selection::all, 0, 0)), 1e-6},
  };
}

// Offsets as host numbers: checked here once, so that the kernels can trust them.
const int32_t* checked_offsets(const Tape& tape, const Op& op, const Operand& offsets, int64_t total) {
  const Tensor& t = offsets.tensor;
  if (!t || t.dtype() != DType::i32 || t.rank() != 1 || t.dim(0) < 1)
    fail_operands(tape, op, fmt::format("{} must be i32 [batch + 1]", offsets.role), {offsets});
  if (t.device() != Device::cpu) fail_operands(tape, op, fmt::format("{} must be on the cpu", offsets.role), {offsets});
  const auto* o = t.data<int32_t>();
  for (int64_t s = 0; s + 1 < t.dim(0); ++s)
    if (o[s + 1] < o[s]) fail_operands(tape, op, fmt::format("{} decrease at {}", offsets.role, s + 1), {offsets});
  if (o[0] != 0 || o[t.dim(0) - 1] != total)
    fail_operands(tape, op, fmt::format("{} must run from 0 to {}", offsets.role, total), {offsets});
  return o;
}

// Per (sequence, head) counts become per head.
void fill_stats(const AttentionShape& s, const int32_t* kept, const double* entropy, AttentionStats& stats) {
  for (Tensor* t : {&stats.kept, &stats.pairs, &stats.entropy, &stats.queries})
    *t = Tensor::zeros({s.heads}, DType::f64);
  for (int64_t b = 0; b < s.batch; ++b) {
    const double n_q = s.q_offsets[b + 1] - s.q_offsets[b], n_k = s.kv_offsets[b + 1] - s.kv_offsets[b];
    for (int64_t h = 0; h < s.heads; ++h) {
      stats.kept.data<double>()[h] += kept[b * s.heads + h];
      stats.pairs.data<double>()[h] += n_q * n_k;
      stats.entropy.data<double>()[h] += entropy[b * s.heads + h];
      stats.queries.data<double>()[h] += n_q;
    }
  }
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
  AttentionShape s{.heads = rule.heads,
                   .head_dim = q.dim(1) / rule.heads,
                   .q_offsets = checked_offsets(tape, op, {"q_offsets", q_offsets}, q.dim(0)),
                   .kv_offsets = checked_offsets(tape, op, {"kv_offsets", kv_offsets}, k.dim(0)),
                   .scale = rule.scale,
                   .selection = rule.selection,
                   .sparsity = rule.sparsity,
                   .dropout = rule.dropout};
  if (q_offsets.dim(0) != kv_offsets.dim(0)) complain("q_offsets and kv_offsets are for different batch sizes");
  s.batch = q_offsets.dim(0) - 1;

  // Where each sequence's weights [heads, n_q, n_k] lie.
  const Tensor weight_offsets = Tensor::empty({s.batch + 1}, DType::i32);
  int64_t total = 0;
  double pairs = 0;
  for (int64_t b = 0; b <= s.batch; ++b) {
    if (total > std::numeric_limits<int32_t>::max())
      complain("too many (query, key) pairs in one batch; make it smaller");
    weight_offsets.data<int32_t>()[b] = static_cast<int32_t>(total);
    if (b == s.batch) break;
    const int64_t n_q = s.q_offsets[b + 1] - s.q_offsets[b], n_k = s.kv_offsets[b + 1] - s.kv_offsets[b];
    if (n_q > 0 && n_k == 0) complain(fmt::format("sequence {} has queries but no keys", b));
    total += rule.heads * n_q * n_k;
    pairs += static_cast<double>(n_q) * static_cast<double>(n_k);
  }
  s.weight_offsets = weight_offsets.data<int32_t>();

  const Tensor y = tape.output(op, q.shape(), q.dtype(), {q, k, v});
  const Tensor weights = Tensor::empty({total}, q.dtype(), q.device());
  const Tensor kept = stats ? Tensor::zeros({s.batch * s.heads}, DType::i32) : Tensor();
  const Tensor entropy = stats ? Tensor::zeros({s.batch * s.heads}, DType::f64) : Tensor();
  with_type(q, [&]<class T>() {
    need(kernels<T>(q.device()).attention, "attention", q.device())(
        nullptr, s, q.data<T>(), k.data<T>(), v.data<T>(), weights.data<T>(), y.data<T>(),
        stats ? kept.data<int32_t>() : nullptr, stats ? entropy.data<double>() : nullptr);
  });
  if (stats) fill_stats(s, kept.data<int32_t>(), entropy.data<double>(), *stats);

  const double flops = 4.0 * pairs * static_cast<double>(q.dim(1));
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
