// The attention weights of one text, layer by layer and head by head.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/inspect/subject.h"

namespace crisp::inspect {

/// One head's weights: row q has what query q gives to each key; 0 where the key was dropped.
struct Head {
  int64_t layer = 0, head = 0, tokens = 0;
  std::vector<double> weights;  // [tokens, tokens]

  double at(int64_t query, int64_t key) const { return weights[static_cast<size_t>(query * tokens + key)]; }
  int64_t kept(int64_t query) const;
  int64_t kept() const;
  /// The mean over queries of the weights' entropy, in nats.
  double entropy() const;
  /// Its part of the largest possible one, the mean over queries of log(kept keys); NaN where each keeps one key only.
  double normalised_entropy() const;
  /// Keys by decreasing weight, of equal ones the earlier first; those that were kept.
  std::vector<int64_t> strongest(int64_t query) const;
};

struct AttentionView {
  std::vector<std::string> pieces;
  int64_t layers = 0, heads = 0;
  std::vector<Head> all;       // [layers, heads]
  std::string text, sparsity;  // "dense", "0.8 by top-k"
  const Head& head(int64_t l, int64_t h) const { return all[static_cast<size_t>(l * heads + h)]; }
};

AttentionView view_attention(const Subject& subject);

/// A matrix of percentages where it fits `width` columns, else each query's strongest keys.
std::string head_text(const AttentionView& view, const Head& head, int width);
/// A file of its own, light and dark, with the tokens beside it.
std::string head_svg(const AttentionView& view, const Head& head);
/// All heads on one page. Below 5 MB for 512 tokens and 72 heads: of texts longer than 128 tokens each query has its 16
/// strongest keys.
std::string attention_page(const AttentionView& view, const std::string& model);

}  // namespace crisp::inspect
