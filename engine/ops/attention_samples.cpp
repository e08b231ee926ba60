// What the tests run attention() on. Lengths and scores are such that a small step changes no selection.
#include "engine/ops/attention.h"

namespace crisp {

namespace {

// q, k, v, the offsets of queries and of keys, and then the span, or the starts and the keys of lists.
std::vector<Tensor> inputs(const Tensor& q_offsets, const Tensor& kv_offsets, const std::vector<Tensor>& more = {}) {
  const auto rows = [](const Tensor& offsets) { return offsets.data<int32_t>()[offsets.dim(0) - 1]; };
  std::vector<Tensor> all{sample_input({rows(q_offsets), 6}, 1), sample_input({rows(kv_offsets), 6}, 2),
                          sample_input({rows(kv_offsets), 6}, 3), q_offsets, kv_offsets};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

auto run(const AttentionRule& rule) {
  return [=](Tape& tape, std::span<const Tensor> in) {
    AttentionRule r = rule;
    if (r.selection == Selection::listed) {
      const auto values = [](const Tensor& t) {
        const Tensor host = t.to(Device::cpu);
        return std::vector<int32_t>(host.data<int32_t>(), host.data<int32_t>() + host.numel());
      };
      r.lists = on(in[0].device(), ListedKeys(Segments(in[3], in[4]), r.heads, values(in[5]), values(in[6])));
    } else if (in.size() > 5) {
      r.span = in[5];
    }
    return attention(tape, in[0], in[1], in[2], {in[3], in[4]}, r);
  };
}

AttentionRule rule(Selection selection, double sparsity, double p) {
  return {.heads = 2,
          .scale = 0.7,
          .selection = selection,
          .sparsity = sparsity,
          .dropout = {p, {.seed = 5, .stream = Stream::dropout}}};
}

// A rule with dropout, half of the keys, and what `change` makes of it.
template <class F>
auto run_with(Selection selection, F change) {
  AttentionRule r = rule(selection, 0.5, 0.2);
  change(r);
  return run(r);
}

}  // namespace

std::vector<Sample> attention_samples() {
  const Tensor offsets = sample_ids({0, 1, 6, 12});  // lengths 1, 5, 6
  const std::vector<Tensor> qkv = inputs(offsets, offsets);
  const std::vector<Tensor> listed =
      inputs(offsets, offsets,
             {sample_ids({0, 1, 3, 4, 9, 10, 12, 14, 15, 18, 20, 21, 25}),
              sample_ids({0, 0, 1, 2, 0, 1, 2, 3, 4, 1, 0, 4, 2, 5, 0, 1, 2, 3, 0, 5, 4, 1, 2, 3, 5})});
  const std::vector<Tensor> listed_per_head = inputs(
      offsets, offsets,
      {sample_ids({0, 1, 3, 4, 9, 10, 12, 14, 15, 18, 20, 21, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37}),
       sample_ids({0, 0, 1, 2, 0, 1, 2, 3, 4, 1, 0, 4, 2, 5, 0, 1, 2, 3, 0, 5, 4, 1, 2, 3, 5,  //
                   0, 4, 3, 2, 1, 0, 5, 4, 3, 2, 1, 0})});
  return {
      {"dense", qkv, run(rule(Selection::all, 0, 0)), 1e-6},
      {"dense with dropout", qkv, run(rule(Selection::all, 0, 0.3)), 1e-6},
      {"top-k per row", qkv, run(rule(Selection::top_k_row, 0.6, 0)), 1e-6},
      {"top-k with dropout", qkv, run(rule(Selection::top_k_row, 0.4, 0.3)), 1e-6},
      {"percentile per head", qkv, run(rule(Selection::percentile_head, 0.7, 0)), 1e-6},
      {"one tensor as queries, keys and values",
       {qkv[0], offsets},
       [](Tape& tape, std::span<const Tensor> in) {
         return attention(tape, in[0], in[0], in[0], {in[1], in[1]}, rule(Selection::all, 0, 0.3));
       },
       1e-6},
      {"side by side",
       {sample_input({12, 18}, 4), offsets},
       [](Tape& tape, std::span<const Tensor> in) {
         return attention(tape, in[0], {in[1], in[1]}, rule(Selection::all, 0, 0.3));
       },
       1e-6},
      {"side by side, top-k",
       {sample_input({12, 18}, 5), offsets},
       [](Tape& tape, std::span<const Tensor> in) {
         return attention(tape, in[0], {in[1], in[1]}, rule(Selection::top_k_row, 0.5, 0.3));
       },
       1e-6},
      {"keys and values side by side",
       {sample_input({3, 6}, 6), sample_input({12, 12}, 7), sample_ids({0, 1, 2, 3}), offsets},
       [](Tape& tape, std::span<const Tensor> in) {
         return attention(tape, in[0], in[1], {in[2], in[3]}, rule(Selection::top_k_row, 0.4, 0.3));
       },
       1e-6},
      {"listed keys", listed, run(rule(Selection::listed, 0, 0.2)), 1e-6},
      {"listed keys of each head, some for sure", listed_per_head,
       run_with(Selection::listed,
                [](auto& r) {
                  r.keep_first = true;
                  r.key_dropout = {0.5, {.seed = 9}, false};
                }),
       1e-6},
      {"top-k with ties", qkv, run(rule(Selection::top_k_ties, 0.6, 0.3)), 1e-6},
      {"threshold", qkv, run_with(Selection::threshold, [](auto& r) { r.threshold = 0.2; }), 1e-6},
      {"bottom k", qkv, run(rule(Selection::bottom_k, 0.5, 0.3)), 1e-6},
      {"drop top", qkv,
       run_with(Selection::drop_top,
                [](auto& r) {
                  r.drop_p = 0.6;
                  r.drop_key = {.seed = 6, .stream = Stream::masks};
                }),
       1e-6},
      {"protected keys", qkv,
       run_with(Selection::top_k_row, [](auto& r) { r.keep_first = r.keep_last = r.keep_diagonal = true; }), 1e-6},
      {"key dropout", qkv,
       run_with(Selection::all,
                [](auto& r) {
                  r.key_dropout = {0.4, {.seed = 7}, false};
                }),
       1e-6},
      {"key dropout by columns", qkv,
       run_with(Selection::top_k_row,
                [](auto& r) {
                  r.key_dropout = {0.4, {.seed = 8}, true};
                }),
       1e-6},
      {"sparsemax", qkv, run_with(Selection::all, [](auto& r) { r.normaliser = Normaliser::sparsemax; }), 1e-6},
      {"1.5-entmax of selected keys", qkv,
       run_with(Selection::bottom_k, [](auto& r) { r.normaliser = Normaliser::entmax15; }), 1e-6},
      {"learned span", inputs(offsets, offsets, {sample_input({2}, 4, 0.6, 0.3)}),
       run_with(Selection::all,
                [](auto& r) {
                  r.dropout.p = 0.3;
                  r.span_ramp = 2.5;
                }),
       1e-6},
      {"one query a sequence", inputs(sample_ids({0, 1, 2, 3}), offsets), run(rule(Selection::top_k_row, 0.5, 0)),
       1e-6},
      {"no sequences", inputs(sample_ids({0}), sample_ids({0})), run(rule(Selection::all, 0, 0)), 1e-6},
  };
}

}  // namespace crisp
