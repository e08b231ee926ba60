#include "tools/inspect/pattern.h"

#include <fmt/format.h>

#include <cstring>

#include "data/input/text.h"
#include "engine/op.h"
#include "model/methods/method.h"

namespace crisp::inspect {
namespace {

// The last layer's queries other than the first have no part in the result, unless what the first keeps goes by them.
Pattern::Layer kept_of(const Tensor& weights, bool first_only) {
  Pattern::Layer layer{weights.dim(1), weights.dim(2), {}};
  const std::vector<double> w = weights.to_vector();
  const size_t count = first_only ? static_cast<size_t>(layer.heads * layer.longest) : w.size();
  for (size_t i = 0; i < count; ++i) layer.kept.push_back(w[i] != 0);
  return layer;
}

}  // namespace

bool Pattern::operator==(const Pattern& other) const { return flips(*this, other).empty(); }

std::vector<Flip> flips(const Pattern& from, const Pattern& to) {
  std::vector<Flip> found;
  for (size_t l = 0; l < from.layers.size(); ++l) {
    const Pattern::Layer &a = from.layers[l], &b = to.layers[l];
    for (size_t i = 0; i < a.kept.size(); ++i) {
      if (a.kept[i] == b.kept[i]) continue;
      const auto at = static_cast<int64_t>(i), row = at / a.longest;
      found.push_back({static_cast<int64_t>(l), row % a.heads, row / a.heads, at % a.longest, b.kept[i]});
    }
  }
  for (size_t i = 0; i < from.relu.size(); ++i)
    if (from.relu[i] != to.relu[i]) found.push_back({.key = static_cast<int64_t>(i), .on = to.relu[i]});
  return found;
}

std::string describe(const Flip& flip, const std::vector<std::string>& pieces) {
  if (flip.layer < 0) return fmt::format("head: unit {} of the ReLU switches {}", flip.key, flip.on ? "on" : "off");
  const auto piece = [&](int64_t i) { return printable(pieces[static_cast<size_t>(i)]); };
  return fmt::format("layer {}, head {}: query {} ({}) {} key {} ({})", flip.layer, flip.head, flip.query,
                     piece(flip.query), flip.on ? "keeps" : "drops", flip.key, piece(flip.key));
}

Point evaluate(const Subject& subject) {
  Point point;
  std::vector<Tensor> weights;
  const SparsityConfig& sparsity = subject.config().sparsity;
  const bool sparse = sparsity.applies_somewhere(subject.mode().training);
  Tape tape(subject.context());
  tape.keep_values();
  point.value = subject.objective(tape, sparse ? &weights : nullptr).to_vector()[0];
  for (size_t l = 0; l < weights.size(); ++l) {
    const bool last = l + 1 == weights.size();
    point.pattern.layers.push_back(kept_of(weights[l], last && !about(sparsity.method).whole_matrix));
  }
  for (const NodeInfo& node : tape.nodes())
    if (std::strcmp(node.op->name, "relu") == 0)
      for (const double v : node.output.to_vector()) point.pattern.relu.push_back(v > 0);
  return point;
}

}  // namespace crisp::inspect
