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
  const auto with = [=](Selection selection, auto change) {
    AttentionRule r = rule(selection, 0.5, 0.2);
    change(r);
    return r;
  };
  // For lengths 1, 5, 6.
  const auto listed = [=](bool per_head) {
    AttentionRule r = rule(Selection::listed, 0, 0.2);
    r.list_starts = sample_ids({0, 1, 3, 4, 9, 10, 12, 14, 15, 18, 20, 21, 25});
    r.list_keys = sample_ids({0, 0, 1, 2, 0, 1, 2, 3, 4, 1, 0, 4, 2, 5, 0, 1, 2, 3, 0, 5, 4, 1, 2, 3, 5});
    if (per_head) {
      r.list_starts =
          sample_ids({0, 1, 3, 4, 9, 10, 12, 14, 15, 18, 20, 21, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37});
      r.list_keys = sample_ids({0, 0, 1, 2, 0, 1, 2, 3, 4, 1, 0, 4, 2, 5, 0, 1, 2, 3, 0, 5, 4, 1, 2, 3, 5,  //
                                0, 4, 3, 2, 1, 0, 5, 4, 3, 2, 1, 0});
      r.keep_first = true;
      r.key_dropout = {0.5, {.seed = 9}, false};
    }
    return r;
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
      {"listed keys", qkv(12, 12), run(offsets, offsets, listed(false)), 1e-6},
      {"listed keys of each head, some for sure", qkv(12, 12), run(offsets, offsets, listed(true)), 1e-6},
      {"top-k with ties", qkv(12, 12), run(offsets, offsets, rule(Selection::top_k_ties, 0.6, 0.3)), 1e-6},
      {"threshold", qkv(12, 12), run(offsets, offsets, with(Selection::threshold, [](auto& r) { r.threshold = 0.2; })),
       1e-6},
      {"bottom k", qkv(12, 12), run(offsets, offsets, rule(Selection::bottom_k, 0.5, 0.3)), 1e-6},
      {"drop top", qkv(12, 12),
       run(offsets, offsets,
           with(Selection::drop_top,
                [](auto& r) {
                  r.drop_p = 0.6;
                  r.drop_key = {.seed = 6, .stream = Stream::masks};
                })),
       1e-6},
      {"protected keys", qkv(12, 12),
       run(offsets, offsets,
           with(Selection::top_k_row, [](auto& r) { r.keep_first = r.keep_last = r.keep_diagonal = true; })),
       1e-6},
      {"key dropout", qkv(12, 12),
       run(offsets, offsets,
           with(Selection::all,
                [](auto& r) {
                  r.key_dropout = {0.4, {.seed = 7}, false};
                })),
       1e-6},
      {"key dropout by columns", qkv(12, 12),
       run(offsets, offsets,
           with(Selection::top_k_row,
                [](auto& r) {
                  r.key_dropout = {0.4, {.seed = 8}, true};
                })),
       1e-6},
      {"sparsemax", qkv(12, 12),
       run(offsets, offsets, with(Selection::all, [](auto& r) { r.normaliser = Normaliser::sparsemax; })), 1e-6},
      {"1.5-entmax of selected keys", qkv(12, 12),
       run(offsets, offsets, with(Selection::bottom_k, [](auto& r) { r.normaliser = Normaliser::entmax15; })), 1e-6},
      {"learned span",
       {sample_input({12, 6}, 1), sample_input({12, 6}, 2), sample_input({12, 6}, 3), sample_input({2}, 4, 0.6, 0.3)},
       [=](Tape& tape, std::span<const Tensor> in) {
         AttentionRule r = rule(Selection::all, 0, 0.3);
         r.span = in[3];
         r.span_ramp = 2.5;
         return attention(tape, in[0], in[1], in[2], offsets, offsets, r);
       },
       1e-6},
      {"one query a sequence", qkv(3, 12), run(first_only, offsets, rule(Selection::top_k_row, 0.5, 0)), 1e-6},
      {"no sequences", qkv(0, 0), run(sample_ids({0}), sample_ids({0}), rule(Selection::all, 0, 0)), 1e-6},
  };
}

}  // namespace crisp
