// By the distance in the dependency tree (Breaking BERT, arXiv 2210.03841).
#include <fmt/format.h>

#include <algorithm>

#include "model/methods/method.h"

namespace crisp {
namespace {

Kept rank(const ListedQuery& query, double* numbers) {
  std::copy_n(query.tree_distances + query.position * query.length, query.length, numbers);
  return {.within = static_cast<double>(query.config.tree_distance.value_or(0))};
}

}  // namespace

const Method syntax_method{
    .word = "syntax",
    .keeps = "the k nearest keys in the dependency tree (`--parses`, `--dev-parses`)",
    .instead = "`--tree-distance T`",
    .declare =
        [] {
          return one_measure(setting::number("tree-distance", &MethodNumbers::tree_distance,
                                             WholeNumbers{0, longest_sentence},
                                             "keep keys at most N edges away, instead of a --sparsity"));
        },
    .measure = [](const SparseSettings& s) { return fmt::format("at most {} edges away", s.tree_distance.value()); },
    .rank = rank,
    .needs_parses = true};

}  // namespace crisp
