// BigBird's mix of connections (Zaheer et al., arXiv 2007.14062). The first keys see all keys and are keys of all.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "data/input/parse_text.h"
#include "model/methods/method.h"

namespace crisp {
namespace {

constexpr const char* mixes = "three whole numbers NEAREST,RANDOM,GLOBAL, the first or the last above 0";

std::string set_mix(MethodNumbers& numbers, const std::string& text) {
  const WholeNumbers range{0, longest_sentence};
  std::vector<int64_t> mix;
  for (const std::string& part : split(text, ','))
    if (const std::optional<int64_t> n = parse_number<int64_t>(part); n && range.contains(*n)) mix.push_back(*n);
  if (mix.size() != 3 || split(text, ',').size() != 3 || mix[0] + mix[2] == 0) return setting::must_be(mixes, text);
  numbers.bigbird = BigBird{mix[0], mix[1], mix[2]};
  return "";
}

SettingValue get_mix(const MethodNumbers& numbers) {
  if (!numbers.bigbird) return {};
  return std::vector<int64_t>{numbers.bigbird->nearest, numbers.bigbird->random, numbers.bigbird->global};
}

// How many keys are nearer to query i than key j: of two equally far ones the left one is.
int64_t nearer(int64_t i, int64_t j, int64_t length) {
  const int64_t distance = std::abs(i - j);
  if (distance == 0) return 0;
  return 1 + std::min(i, distance - 1) + std::min(length - 1 - i, distance - 1) + (j > i && i >= distance ? 1 : 0);
}

Kept rank(const ListedQuery& query, double* numbers) {
  const BigBird& mix = query.config.bigbird.value();
  rank_by_chance(query, numbers);
  const int64_t i = query.position;
  for (int64_t j = 0; j < query.length; ++j)
    if (i < mix.global || j < mix.global || nearer(i, j, query.length) < mix.nearest) numbers[j] = -1;
  return {.within = -1, .more = mix.random};
}

}  // namespace

const Method bigbird_method{.word = "bigbird",
                            .keeps = "N nearest, R random, G global keys (arXiv 2007.14062)",
                            .instead = "`--bigbird N,R,G`",
                            .by_sparsity = false,
                            .declare =
                                [] {
                                  return one_measure({"bigbird",
                                                      "N,R,G",
                                                      "N nearest keys, R random ones, G global ones from [CLS] on",
                                                      set_mix,
                                                      get_mix,
                                                      [](const MethodNumbers&) { return std::string(); },
                                                      Recorded::no,
                                                      {},
                                                      mixes});
                                },
                            .measure =
                                [](const SparseSettings& s) {
                                  return fmt::format("{} nearest, {} random, {} global", s.bigbird.value().nearest,
                                                     s.bigbird->random, s.bigbird->global);
                                },
                            .rank = rank,
                            .differs_by_head = [](const SparseSettings& s) { return s.bigbird.value().random > 0; },
                            .by_seed = true};

}  // namespace crisp
