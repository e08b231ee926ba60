// The random numbers are those of (seed, layer, head, query, key), hence the same in training and evaluation.
#include <array>

#include "model/methods/method.h"

namespace crisp {

void rank_by_chance(const ListedQuery& query, double* numbers) {
  std::array<uint32_t, 4> words{};
  for (int64_t j = 0; j < query.length; ++j) {
    const uint64_t block = (static_cast<uint64_t>(query.position) << 30) + static_cast<uint64_t>(j / 4);
    if (j % 4 == 0) words = random_block(query.random, block);
    numbers[j] = words[static_cast<size_t>(j % 4)];
  }
}

const Method random_k_method{.word = "random-k",
                             .keeps = "k keys by chance: a control",
                             .rank = [](const ListedQuery& query, double* numbers) -> Kept {
                               rank_by_chance(query, numbers);
                               return {};
                             },
                             .differs_by_head = [](const SparseSettings&) { return true; },
                             .by_seed = true};

}  // namespace crisp
