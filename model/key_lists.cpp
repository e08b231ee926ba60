#include "model/key_lists.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "engine/checked.h"
#include "engine/cpu/threads/team.h"
#include "engine/fail.h"
#include "engine/kernels.h"
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

// Where each sequence's matrix of pairs begins, and where the last one ends.
std::vector<size_t> matrix_starts(std::span<const int32_t> offsets) {
  std::vector<size_t> starts{0};
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    const auto n = static_cast<size_t>(offsets[s + 1] - offsets[s]);
    starts.push_back(starts.back() + n * n);
  }
  return starts;
}

// One sequence under one head.
class Ranking {
 public:
  /// `before`: pairs of the sequences before.
  Ranking(const SparsityConfig& config, int64_t layer, double sparsity, const ListInputs& inputs, size_t sequence,
          size_t before, size_t head)
      : config_(config),
        n_(inputs.offsets[sequence + 1] - inputs.offsets[sequence]),
        k_(top_k_count(sparsity, n_)),
        key_{config.seed, Stream::masks, static_cast<uint32_t>(head), random_connections_site(layer)} {
    if (!inputs.similarities.empty()) similarities_ = inputs.similarities.data() + before;
    if (!inputs.tree_distances.empty()) distances_ = inputs.tree_distances.data() + before;
    if (config.method == SparseMethod::neighbour && config.window) limit_ = static_cast<double>(*config.window);
    if (config.method == SparseMethod::lexical && config.lexical_threshold) limit_ = -*config.lexical_threshold;
    if (config.method == SparseMethod::syntax && config.tree_distance)
      limit_ = static_cast<double>(*config.tree_distance);
    if (config.method == SparseMethod::learned_span) limit_ = static_cast<double>(inputs.windows[head]);
  }

  int64_t length() const { return n_; }

  /// Appends the keys that query i keeps.
  void append(int64_t i, std::vector<int32_t>& keys) {
    rank(i);
    const size_t first = keys.size();
    if (config_.method == SparseMethod::bigbird) {
      append_bigbird(i, keys);
    } else if (config_.by_measure()) {
      for (const Ranked& r : ranked_)
        if (!r.unprotected || r.key == i || r.measure <= limit_) keys.push_back(r.key);
    } else {
      std::nth_element(ranked_.begin(), ranked_.begin() + (k_ - 1), ranked_.end());
      for (int64_t r = 0; r < k_; ++r) keys.push_back(ranked_[static_cast<size_t>(r)].key);
    }
    std::sort(keys.begin() + static_cast<std::ptrdiff_t>(first), keys.end());
  }

 private:
  bool is_protected(int64_t i, int64_t j) const {
    if (config_.method == SparseMethod::learned_span) return false;  // the gate knows none in training either
    return (config_.keep_first && j == 0) || (config_.keep_last && j == n_ - 1) || (config_.keep_diagonal && j == i);
  }

  double measure(int64_t i, int64_t j) {
    switch (config_.method) {
      case SparseMethod::lexical:
        return i == j ? -std::numeric_limits<double>::infinity() : -similarities_[i * n_ + j];
      case SparseMethod::syntax:
        return distances_[i * n_ + j];
      case SparseMethod::random_k:
      case SparseMethod::bigbird:
        if (j % 4 == 0) words_ = random_block(key_, (static_cast<uint64_t>(i) << 30) + static_cast<uint64_t>(j / 4));
        return words_[static_cast<size_t>(j % 4)];
      default:  // neighbour, learned_span
        return static_cast<double>(std::abs(i - j));
    }
  }

  void rank(int64_t i) {
    ranked_.clear();
    for (int64_t j = 0; j < n_; ++j)
      ranked_.push_back(
          {!is_protected(i, j), measure(i, j), static_cast<int32_t>(std::abs(i - j)), static_cast<int32_t>(j)});
  }

  void append_bigbird(int64_t i, std::vector<int32_t>& keys) {
    const BigBird& b = *config_.bigbird;
    const auto nearer = [](const Ranked& x, const Ranked& y) {
      return x.distance != y.distance ? x.distance < y.distance : x.key < y.key;
    };
    std::sort(ranked_.begin(), ranked_.end(), nearer);
    std::vector<Ranked> others;
    for (int64_t r = 0; r < n_; ++r) {
      const Ranked& key = ranked_[static_cast<size_t>(r)];
      const bool kept = i < b.global || key.key < b.global || r < b.nearest || !key.unprotected;
      if (kept) {
        keys.push_back(key.key);
      } else {
        others.push_back(key);
      }
    }
    std::sort(others.begin(), others.end());  // by chance
    others.resize(std::min(others.size(), static_cast<size_t>(b.random)));
    for (const Ranked& key : others) keys.push_back(key.key);
  }

  const SparsityConfig& config_;
  int64_t n_, k_;
  double limit_ = 0;
  RandomKey key_;
  const double* similarities_ = nullptr;
  const int32_t* distances_ = nullptr;
  std::array<uint32_t, 4> words_{};
  std::vector<Ranked> ranked_;
};

}  // namespace

bool lists_differ_by_head(const SparsityConfig& c) {
  return c.method == SparseMethod::random_k || c.method == SparseMethod::learned_span ||
         (c.method == SparseMethod::bigbird && c.bigbird->random > 0);
}

KeyLists key_lists(const SparsityConfig& config, int64_t layer, double sparsity, int64_t heads,
                   const ListInputs& inputs, int threads, const ListedQueries& queries) {
  if (config.method == SparseMethod::syntax && inputs.tree_distances.empty() && inputs.offsets.back() > 0)
    fail<UsageError>("--sparse-method syntax needs dependency parses of every set: --parses FILE, --dev-parses FILE");
  if (config.method == SparseMethod::lexical && inputs.similarities.empty() && inputs.offsets.back() > 0)
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

std::vector<double> word_similarities(const Tensor& words, std::span<const int32_t> offsets, int threads) {
  const auto dim = static_cast<size_t>(words.dim(1));
  const std::vector<size_t> starts = matrix_starts(offsets);
  std::vector<double> cosines(starts.back()), unit(static_cast<size_t>(words.numel()));
  with_type(words, [&]<class T>() {
    const T* rows = words.data<T>();
    parallel_for(words.dim(0), threads, [&](int64_t i) {
      const auto t = static_cast<size_t>(i);
      const T* row = rows + t * dim;
      double squares = 0;
      for (size_t d = 0; d < dim; ++d) squares += static_cast<double>(row[d]) * static_cast<double>(row[d]);
      const double norm = squares > 0 ? std::sqrt(squares) : 1;
      for (size_t d = 0; d < dim; ++d) unit[t * dim + d] = static_cast<double>(row[d]) / norm;
    });
  });
  parallel_tasks(std::ssize(offsets) - 1, 1, threads, [&](int64_t task) {
    const auto s = static_cast<size_t>(task), first = static_cast<size_t>(offsets[s]);
    const size_t n = static_cast<size_t>(offsets[s + 1]) - first;
    double* matrix = cosines.data() + starts[s];
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = i; j < n; ++j) {
        const double *a = unit.data() + (first + i) * dim, *b = unit.data() + (first + j) * dim;
        double dot = 0;
#pragma omp simd reduction(+ : dot)
        for (size_t d = 0; d < dim; ++d) dot += a[d] * b[d];
        matrix[i * n + j] = matrix[j * n + i] = std::isfinite(dot) ? dot : -2;
      }
    }
  });
  return cosines;
}

int64_t hard_window(double z, double ramp) {
  return static_cast<int64_t>(std::min(std::max(0.0, std::floor(z + ramp / 2)), positions_limit));  // of NaN 0
}

}  // namespace crisp
