#include <fmt/format.h>

#include <cstdlib>

#include "model/methods/method.h"

namespace crisp {

void rank_by_distance(const ListedQuery& query, double* numbers) {
  for (int64_t j = 0; j < query.length; ++j) numbers[j] = static_cast<double>(std::abs(query.position - j));
}

const Method neighbour_method{
    .word = "neighbour",
    .keeps = "the k nearest keys",
    .instead = "`--window W`: at most W away",
    .declare =
        [] {
          return one_measure(setting::number("window", &MethodNumbers::window, WholeNumbers{0, longest_sentence},
                                             "keep keys at most N away, instead of a --sparsity"));
        },
    .measure = [](const SparseSettings& s) { return fmt::format("at most {} away", s.window.value()); },
    .rank = [](const ListedQuery& query, double* numbers) -> Kept {
      rank_by_distance(query, numbers);
      return {.within = static_cast<double>(query.config.window.value_or(0))};
    }};

}  // namespace crisp
