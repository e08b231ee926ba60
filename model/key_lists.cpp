#include "model/key_lists.h"

#include <algorithm>
#include <cstdlib>

#include "engine/checked.h"
#include "engine/cpu/threads/team.h"
#include "engine/fail.h"
#include "engine/kernels.h"
#include "model/methods/method.h"
#include "model/random_sites.h"

namespace crisp {
namespace {

// A key as a query ranks it: less comes first.
struct Ranked {
  bool unprotected;
  double measure;
  int32_t distance, key;
  bool operator<(const Ranked& o) const {
    if (unprotected != o.unprotected) return o.unprotected;
    if (measure != o.measure) return measure < o.measure;
    return distance != o.distance ? distance < o.distance : key < o.key;
  }
};

// One sequence under one head.
class Ranking {
 public:
  /// `before`: pairs of the sequences before.
  Ranking(const SparsityConfig& config, int64_t layer, double sparsity, const ListInputs& inputs, size_t sequence,
          size_t before, size_t head)
      : method_(about(config.method)),
        by_measure_(config.by_measure()),
        query_{.config = config,
               .position = 0,
               .length = inputs.offsets[sequence + 1] - inputs.offsets[sequence],
               .random = {config.seed, Stream::masks, static_cast<uint32_t>(head), random_connections_site(layer)}},
        k_(top_k_count(sparsity, query_.length)) {
    if (!inputs.similarities.empty()) query_.similarities = inputs.similarities.data() + before;
    if (!inputs.tree_distances.empty()) query_.tree_distances = inputs.tree_distances.data() + before;
    if (!inputs.windows.empty()) query_.window = inputs.windows[head];
    numbers_.resize(static_cast<size_t>(query_.length));
  }

  int64_t length() const { return query_.length; }

  /// Appends the keys that query i keeps.
  void append(int64_t i, std::vector<int32_t>& keys) {
    query_.position = i;
    const Kept kept = method_.rank(query_, numbers_.data());
    ranked_.clear();
    int64_t within = 0;
    for (int64_t j = 0; j < length(); ++j) {
      const bool first = is_protected(j);
      const double number = numbers_[static_cast<size_t>(j)];
      within += first || number <= kept.within ? 1 : 0;
      ranked_.push_back({!first, number, static_cast<int32_t>(std::abs(i - j)), static_cast<int32_t>(j)});
    }
    const int64_t count = by_measure_ ? std::min(within + kept.more, length()) : k_;
    std::nth_element(ranked_.begin(), ranked_.begin() + count, ranked_.end());
    const auto begin = static_cast<std::ptrdiff_t>(keys.size());
    for (int64_t r = 0; r < count; ++r) keys.push_back(ranked_[static_cast<size_t>(r)].key);
    std::sort(keys.begin() + begin, keys.end());
  }

 private:
  bool is_protected(int64_t j) const {
    const SparsityConfig& c = query_.config;
    return method_.takes_protected && ((c.keep_first && j == 0) || (c.keep_last && j == length() - 1) ||
                                       (c.keep_diagonal && j == query_.position));
  }

  const Method& method_;
  const bool by_measure_;
  ListedQuery query_;
  int64_t k_;
  std::vector<double> numbers_;
  std::vector<Ranked> ranked_;
};

}  // namespace

std::vector<size_t> matrix_starts(std::span<const int32_t> offsets) {
  std::vector<size_t> starts{0};
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    const auto n = static_cast<size_t>(offsets[s + 1] - offsets[s]);
    starts.push_back(starts.back() + n * n);
  }
  return starts;
}

bool lists_differ_by_head(const SparsityConfig& c) {
  const Method& method = about(c.method);
  return method.differs_by_head && method.differs_by_head(c);
}

KeyLists key_lists(const SparsityConfig& config, int64_t layer, double sparsity, int64_t heads,
                   const ListInputs& inputs, int threads, const ListedQueries& queries) {
  const Method& method = about(config.method);
  if (method.needs_parses && inputs.tree_distances.empty() && inputs.offsets.back() > 0)
    fail<UsageError>("--sparse-method {} needs dependency parses of every set: --parses FILE, --dev-parses FILE",
                     method.word);
  if (method.needs_words && inputs.similarities.empty() && inputs.offsets.back() > 0)
    fail("key_lists: similarities are missing");
  KeyLists lists;
  lists.heads = lists_differ_by_head(config) ? heads : 1;
  const size_t batch = inputs.offsets.size() - 1;
  const std::vector<size_t> starts = matrix_starts(inputs.offsets);
  // Of each head and sequence: its queries' keys, one after the other, and how many they are.
  std::vector<std::vector<int32_t>> keys(static_cast<size_t>(lists.heads) * batch), counts(keys.size());
  parallel_tasks(std::ssize(keys), 1, threads, [&](int64_t task) {
    const auto c = static_cast<size_t>(task);
    Ranking ranking(config, layer, sparsity, inputs, c % batch, starts[c % batch], c / batch);
    auto& mine = keys[c];
    const int64_t rows = queries.first_only ? std::min<int64_t>(1, ranking.length()) : ranking.length();
    for (int64_t i = 0; i < rows; ++i) {
      const size_t before = mine.size();
      ranking.append(i, mine);
      counts[c].push_back(static_cast<int32_t>(mine.size() - before));
    }
  });
  const int64_t copies = queries.first_only ? queries.copies : 1;
  size_t total = 0;
  for (const auto& of_chunk : keys) total += of_chunk.size() * static_cast<size_t>(copies);
  lists.keys.reserve(static_cast<size_t>(checked_int32(total, "(query, key) pairs in one batch")));
  lists.starts.push_back(0);
  for (size_t c = 0; c < keys.size(); ++c) {
    for (int64_t copy = 0; copy < copies; ++copy) {
      lists.keys.insert(lists.keys.end(), keys[c].begin(), keys[c].end());
      for (const int32_t count : counts[c]) lists.starts.push_back(lists.starts.back() + count);
    }
  }
  return lists;
}

}  // namespace crisp
