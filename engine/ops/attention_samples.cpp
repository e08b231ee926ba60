// What the tests run attention() on. Lengths and scores are such that a small step changes no selection.
#include "engine/ops/attention.h"

namespace crisp {

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

}  // namespace crisp
