// Every method of sparse attention as a small model's configuration.
#pragma once

#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "model/sparsity.h"
#include "tests/support/small_model.h"

namespace crisp::test {

struct MethodCase {
  std::string name;
  SparsityOptions options;
  /// In training chance removes keys anew in each step.
  bool chancy() const {
    return options.method == SparseMethod::attention_drop || options.drop_key > 0 || options.drop_attention > 0;
  }
};

/// Each method once or more: with its sparsity, with its measure, with protected keys, with key dropout.
inline std::vector<MethodCase> method_cases() {
  using Change = std::function<void(SparsityOptions&)>;
  std::vector<MethodCase> cases;
  const auto add = [&](
                       const std::string& name, SparseMethod method, const std::string& sparsity,
                       const Change& change = [](SparsityOptions&) {}) {
    SparsityOptions o;
    o.method = method;
    o.sparsity = sparsity;
    change(o);
    cases.push_back({name, o});
  };
  const auto keep = [](SparsityOptions& o) { o.keep_first = o.keep_last = o.keep_diagonal = true; };
  add("dense", SparseMethod::top_k, "dense");
  add("top-k", SparseMethod::top_k, "0.6");
  add("top-k, the diagonal protected", SparseMethod::top_k, "0.7", [](auto& o) { o.keep_diagonal = true; });
  add("top-k-ties", SparseMethod::top_k_ties, "0.6");
  add("percentile", SparseMethod::percentile, "0.6");
  add("percentile, protected", SparseMethod::percentile, "0.6", keep);
  add("threshold", SparseMethod::threshold, "dense", [](auto& o) { o.threshold = 0.2; });
  add("bottom-k", SparseMethod::bottom_k, "0.6", keep);
  add("random-k", SparseMethod::random_k, "0.6");
  add("attention-drop", SparseMethod::attention_drop, "0.5", keep);
  add("neighbour", SparseMethod::neighbour, "0.6", keep);
  add("neighbour by a window", SparseMethod::neighbour, "dense", [](auto& o) { o.window = 2; });
  add("bigbird", SparseMethod::bigbird, "dense", [](auto& o) { o.bigbird = BigBird{3, 2, 1}; });
  add("bigbird without chance", SparseMethod::bigbird, "dense", [](auto& o) { o.bigbird = BigBird{3, 0, 2}; });
  add("lexical", SparseMethod::lexical, "0.6");
  add("lexical by a threshold", SparseMethod::lexical, "dense", [](auto& o) { o.lexical_threshold = 0.1; });
  add("syntax", SparseMethod::syntax, "0.6", [](auto& o) { o.keep_first = true; });
  add("syntax by a distance", SparseMethod::syntax, "dense", [](auto& o) { o.tree_distance = 1; });
  add("learned-span", SparseMethod::learned_span, "dense", [](auto& o) { o.span_penalty = 0.3; });
  add("sparsemax", SparseMethod::sparsemax, "dense");
  add("entmax15", SparseMethod::entmax15, "dense");
  add("DropKey", SparseMethod::top_k, "dense", [](auto& o) { o.drop_key = 0.3; });
  add("DropAttention by columns, sparse", SparseMethod::top_k, "0.4", [](auto& o) {
    o.drop_attention = 0.3;
    o.drop_columns = true;
    o.keep_first = true;
  });
  return cases;
}

/// A random model with this sparsity; learned degrees differ by layer and head.
inline DistilBert method_model(const SparsityOptions& options, DType dtype, DistilBertConfig config = small_config()) {
  config.sparsity = make_sparsity(options, config.layers, 5);
  DistilBert model = random_model(config, dtype);
  double z = 0.3;
  for (const Parameter& p : model.parameters()) {
    if (!p.is_span) continue;
    std::vector<double> values;
    for (int64_t h = 0; h < config.heads; ++h) values.push_back(z += 0.613);
    p.tensor.copy_from(Tensor::from(values, p.tensor.shape(), dtype));
  }
  return model;
}

/// Packed sequences with parses: distances that are a function of the two ids.
inline Batch pack_parsed(const std::vector<std::vector<int32_t>>& sequences) {
  std::vector<int32_t> distances;
  for (const auto& sequence : sequences)
    for (size_t i = 0; i < sequence.size(); ++i)
      for (size_t j = 0; j < sequence.size(); ++j)
        distances.push_back(i == j ? 0 : 1 + std::abs(sequence[i] - sequence[j]) % 4);
  return pack(sequences, distances);
}

}  // namespace crisp::test
