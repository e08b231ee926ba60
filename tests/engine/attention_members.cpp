#include "tests/engine/attention_members.h"

#include <fmt/format.h>

#include "tests/engine/helpers.h"

namespace crisp::test {
namespace {

// Lists for sequences of these lengths: of query i the keys i - 2 .. i + 1, 0, and some more; each head's own, or one
// for all heads.
void make_lists(AttentionRule& rule, const std::vector<int32_t>& lengths, bool per_head) {
  std::vector<int32_t> starts{0}, keys;
  for (int64_t h = 0; h < (per_head ? rule.heads : 1); ++h) {
    for (const int32_t n : lengths) {
      for (int32_t i = 0; i < n; ++i) {
        for (int32_t j = 0; j < n; ++j)
          if ((j >= i - 2 && j <= i + 1) || j == 0 || (7 * i + 3 * j + h) % 11 == 0) keys.push_back(j);
        starts.push_back(static_cast<int32_t>(keys.size()));
      }
    }
  }
  std::vector<int32_t> offsets{0};
  for (const int32_t n : lengths) offsets.push_back(offsets.back() + n);
  rule.lists = on(test_device(), ListedKeys(Segments(offsets), rule.heads, starts, keys));
}

}  // namespace

std::vector<Member> members(int64_t heads, DType type, const std::vector<int32_t>& lengths) {
  std::vector<Member> all;
  const auto add = [&](const std::string& name, Selection selection, double sparsity, auto change, bool draws = false) {
    AttentionRule rule{.heads = heads, .scale = 0.6, .selection = selection, .sparsity = sparsity};
    change(rule);
    all.push_back({name, rule, draws});
  };
  const auto same = [](AttentionRule&) {};
  const auto guard = [](AttentionRule& r) { r.keep_first = r.keep_last = r.keep_diagonal = true; };
  add("dense", Selection::all, 0, same);
  for (const double s : {0.3, 0.8, 0.97}) {
    const std::string suffix = fmt::format(" {}", s);
    add("top-k" + suffix, Selection::top_k_row, s, same);
    add("top-k with ties" + suffix, Selection::top_k_ties, s, same);
    add("percentile" + suffix, Selection::percentile_head, s, same);
    add("bottom-k" + suffix, Selection::bottom_k, s, same);
    add(
        "drop top" + suffix, Selection::drop_top, s, [](auto& r) { r.drop_p = 0.4, r.drop_key = mask_key; }, true);
    add("protected top-k" + suffix, Selection::top_k_row, s, guard);
    add("protected top-k with ties" + suffix, Selection::top_k_ties, s, guard);
    add("protected percentile" + suffix, Selection::percentile_head, s, guard);
    add("protected bottom-k" + suffix, Selection::bottom_k, s, [](auto& r) { r.keep_first = true; });
    add(
        "protected drop top" + suffix, Selection::drop_top, s,
        [&](auto& r) {
          guard(r);
          r.drop_p = 1;
        },
        true);
    add("sparsemax of top-k" + suffix, Selection::top_k_row, s, [](auto& r) { r.normaliser = Normaliser::sparsemax; });
  }
  for (const double limit : {-infinity, -0.5, 0.0, 2.0, infinity})
    add(fmt::format("threshold {}", limit), Selection::threshold, 0, [&](auto& r) { r.threshold = limit; });
  add("protected threshold", Selection::threshold, 0, [](auto& r) { r.threshold = 0.7, r.keep_diagonal = true; });
  add("listed", Selection::listed, 0, [&](auto& r) { make_lists(r, lengths, false); });
  add("listed by head", Selection::listed, 0, [&](auto& r) { make_lists(r, lengths, true); });
  for (const double p : {0.2, 0.9}) {
    for (const bool columns : {false, true}) {
      const auto drop = [=](AttentionRule& r) { r.key_dropout = {p, mask_key, columns}; };
      const std::string name = fmt::format("key dropout {}{}", p, columns ? " by columns" : "");
      add(name, Selection::all, 0, drop, true);
      add(name + " of top-k", Selection::top_k_row, 0.5, drop, true);
      add(
          name + " of lists", Selection::listed, 0,
          [&](auto& r) {
            drop(r);
            make_lists(r, lengths, true);
          },
          true);
      add(
          name + ", protected", Selection::all, 0,
          [&](auto& r) {
            drop(r);
            guard(r);
          },
          true);
    }
  }
  for (const Normaliser n : {Normaliser::sparsemax, Normaliser::entmax15}) {
    const std::string name = n == Normaliser::sparsemax ? "sparsemax" : "1.5-entmax";
    add(name, Selection::all, 0, [&](auto& r) { r.normaliser = n; });
    add(name + " of wide scores", Selection::all, 0, [&](auto& r) { r.normaliser = n, r.scale = 5; });
    add(name + " of lists", Selection::listed, 0, [&](auto& r) {
      r.normaliser = n;
      make_lists(r, lengths, false);
    });
  }
  for (const double mean : {-8.0, 0.4, 6.3, 200.0}) {  // -8: no key in reach
    add(fmt::format("span {}", mean), Selection::all, 0, [&](auto& r) {
      r.span = numbers({heads}, 5, type, mean, 0.3).set_requires_grad();
      r.span_ramp = 4.3;
    });
  }
  return all;
}

Tensor offsets_of(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> offsets{0};
  for (const int32_t n : lengths) offsets.push_back(offsets.back() + n);
  return i32(offsets);
}

Tensor unit_matrix(int64_t n, DType type) {
  std::vector<double> unit(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) unit[static_cast<size_t>(i * n + i)] = 1;
  return tensor_of(unit, {n, n}, type);
}

std::vector<double> weights_of(const Tensor& scores, AttentionRule rule, AttentionStats* stats) {
  const int64_t n = scores.dim(0);
  const Tensor unit = unit_matrix(n, scores.dtype()), offsets = offsets_of({static_cast<int32_t>(n)});
  rule.scale = 1;
  Tape tape(Tape::Mode::inference);
  return attention(tape, scores, unit, unit, {offsets, offsets}, rule, stats).to_vector();
}

}  // namespace crisp::test
