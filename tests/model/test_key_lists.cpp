// Lists of kept keys against their definitions, written down as plainly as possible.
#include "model/key_lists.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "engine/error.h"
#include "engine/kernels.h"
#include "tests/support/catch.h"
#include "tests/support/small_model.h"

using namespace crisp;
using namespace crisp::test;

namespace {

constexpr int64_t heads = 3;
const std::vector<int> lengths{1, 4, 2, 17, 0, 33};
const double grid[] = {0, 0.1, 0.25, 0.5, 0.8, 0.95, 0.999};

std::vector<int32_t> offsets_of(const std::vector<int>& of) {
  std::vector<int32_t> offsets{0};
  for (const int n : of) offsets.push_back(offsets.back() + n);
  return offsets;
}
const std::vector<int32_t> offsets = offsets_of(lengths);

// Similarities and tree distances with many ties.
struct Measures {
  std::vector<double> similarities;
  std::vector<int32_t> distances;
  Measures() {
    uint64_t element = 0;
    for (const int n : lengths) {
      for (int i = 0; i < n; ++i) {
        for (int j = 0; j < n; ++j) {
          similarities.push_back(i == j ? 1 : random_word({.seed = 1}, element++) % 7 / 7.0);
          distances.push_back(i == j ? 0 : static_cast<int32_t>(random_word({.seed = 2}, element++) % 5));
        }
      }
    }
  }
};
const Measures measures;

SparsityConfig config_of(SparseMethod method) {
  SparsityConfig config;
  config.method = method;
  config.seed = 11;
  config.layers.assign(4, 0.5);
  return config;
}

using Lists = std::vector<std::vector<int32_t>>;

// Of head h and sequence s, and the form of all of it.
Lists rows_of(const KeyLists& lists, int64_t h, size_t s) {
  const int64_t total = offsets.back();
  REQUIRE(static_cast<int64_t>(lists.starts.size()) == lists.heads * total + 1);
  REQUIRE(lists.starts.front() == 0);
  REQUIRE(lists.starts.back() == static_cast<int32_t>(lists.keys.size()));
  Lists rows;
  for (int32_t r = offsets[s]; r < offsets[s + 1]; ++r) {
    const auto i = static_cast<size_t>((lists.heads == 1 ? 0 : h) * total + r);
    rows.emplace_back(lists.keys.begin() + lists.starts[i], lists.keys.begin() + lists.starts[i + 1]);
    const auto& row = rows.back();
    CHECK(!row.empty());
    CHECK(std::adjacent_find(row.begin(), row.end(), std::greater_equal<>()) == row.end());
    for (const int32_t j : row) CHECK((j >= 0 && j < lengths[s]));
  }
  return rows;
}

KeyLists lists_of(const SparsityConfig& config, double sparsity, const std::vector<int64_t>& windows = {},
                  const ListedQueries& queries = {}, int64_t layer = 1, int threads = 2) {
  return key_lists(config, layer, sparsity, heads,
                   {.offsets = offsets,
                    .similarities = measures.similarities,
                    .tree_distances = measures.distances,
                    .windows = windows},
                   threads, queries);
}

// What a method ranks by: the less, the earlier.
double rank_of(const SparsityConfig& c, size_t s, int i, int j) {
  size_t before = 0;
  for (size_t t = 0; t < s; ++t) before += static_cast<size_t>(lengths[t] * lengths[t]);
  const size_t at = before + static_cast<size_t>(i * lengths[s] + j);
  if (c.method == SparseMethod::lexical) return i == j ? -2 : -measures.similarities[at];
  if (c.method == SparseMethod::syntax) return measures.distances[at];
  return std::abs(i - j);
}

bool protects(const SparsityConfig& c, int n, int i, int j) {
  return (c.keep_first && j == 0) || (c.keep_last && j == n - 1) || (c.keep_diagonal && j == i);
}

// The first k by (protection, rank, distance in position, position), the whole row sorted.
std::vector<int32_t> first_k(const SparsityConfig& c, size_t s, int i, int64_t k) {
  const int n = lengths[s];
  std::vector<int32_t> keys(static_cast<size_t>(n));
  std::iota(keys.begin(), keys.end(), 0);
  std::stable_sort(keys.begin(), keys.end(), [&](int a, int b) {
    const bool pa = protects(c, n, i, a), pb = protects(c, n, i, b);
    if (pa != pb) return pa;
    const double ra = rank_of(c, s, i, a), rb = rank_of(c, s, i, b);
    if (ra != rb) return ra < rb;
    return std::abs(i - a) < std::abs(i - b);
  });
  keys.resize(static_cast<size_t>(k));
  std::sort(keys.begin(), keys.end());
  return keys;
}

}  // namespace

TEST_CASE("with a sparsity, the k keys that rank first are kept") {
  for (const SparseMethod method : {SparseMethod::neighbour, SparseMethod::lexical, SparseMethod::syntax}) {
    for (int protection = 0; protection < 8; ++protection) {
      SparsityConfig c = config_of(method);
      c.keep_first = (protection & 1) != 0;
      c.keep_last = (protection & 2) != 0;
      c.keep_diagonal = (protection & 4) != 0;
      for (const double sparsity : grid) {
        const KeyLists lists = lists_of(c, sparsity);
        CHECK(lists.heads == 1);
        for (size_t s = 0; s < lengths.size(); ++s) {
          const Lists rows = rows_of(lists, 0, s);
          for (int i = 0; i < lengths[s]; ++i) {
            INFO(method_name(method) << ", protection " << protection << ", sparsity " << sparsity << ", row " << i);
            CHECK(rows[static_cast<size_t>(i)] == first_k(c, s, i, top_k_count(sparsity, lengths[s])));
          }
        }
      }
    }
  }
}

TEST_CASE("the left one of two neighbours comes first") {
  const std::vector<int32_t> one{0, 7};
  const KeyLists lists = key_lists(config_of(SparseMethod::neighbour), 0, 3.0 / 7, heads, {.offsets = one}, 1);
  // Four keys of seven for each query.
  CHECK(lists.keys ==
        std::vector<int32_t>{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 1, 2, 3, 4, 2, 3, 4, 5, 3, 4, 5, 6, 3, 4, 5, 6});
}

TEST_CASE("with a measure, the keys within it and the query's own are kept") {
  SparsityConfig window = config_of(SparseMethod::neighbour), lexical = config_of(SparseMethod::lexical),
                 syntax = config_of(SparseMethod::syntax);
  window.window = 2;
  lexical.lexical_threshold = 3 / 7.0;
  syntax.tree_distance = 1;
  for (SparsityConfig c : {window, lexical, syntax}) {
    for (const bool keep_first : {false, true}) {
      c.keep_first = keep_first;
      const double limit = c.method == SparseMethod::neighbour ? 2 : c.method == SparseMethod::lexical ? -3 / 7.0 : 1;
      const KeyLists lists = lists_of(c, 0.9);  // the sparsity does not count
      for (size_t s = 0; s < lengths.size(); ++s) {
        const Lists rows = rows_of(lists, 0, s);
        for (int i = 0; i < lengths[s]; ++i) {
          std::vector<int32_t> expected;
          for (int j = 0; j < lengths[s]; ++j)
            if (i == j || (keep_first && j == 0) || rank_of(c, s, i, j) <= limit) expected.push_back(j);
          CHECK(rows[static_cast<size_t>(i)] == expected);
        }
      }
    }
  }
}

TEST_CASE("random keys: k distinct ones, by seed, layer and head, and by nothing else") {
  const SparsityConfig c = config_of(SparseMethod::random_k);
  const KeyLists lists = lists_of(c, 0.7);
  CHECK(lists.heads == heads);
  for (int64_t h = 0; h < heads; ++h) {
    for (size_t s = 0; s < lengths.size(); ++s)
      for (const auto& row : rows_of(lists, h, s))
        CHECK(static_cast<int64_t>(row.size()) == top_k_count(0.7, lengths[s]));
  }
  CHECK(lists.keys == lists_of(c, 0.7).keys);
  CHECK(lists.keys != lists_of(c, 0.7, {}, {}, 2).keys);
  SparsityConfig other = c;
  other.seed = 12;
  CHECK(lists.keys != lists_of(other, 0.7).keys);
  CHECK(rows_of(lists, 0, 5) != rows_of(lists, 1, 5));
  // What a sparser row keeps is among what a denser one keeps, and a sequence's neighbours in the batch do not matter.
  const KeyLists sparser = lists_of(c, 0.9);
  for (size_t s = 0; s < lengths.size(); ++s) {
    const Lists some = rows_of(sparser, 2, s), more = rows_of(lists, 2, s);
    for (size_t i = 0; i < some.size(); ++i)
      CHECK(std::includes(more[i].begin(), more[i].end(), some[i].begin(), some[i].end()));
  }
  const std::vector<int32_t> alone{0, 33};
  const KeyLists last = key_lists(c, 1, 0.7, heads, {.offsets = alone}, 1);
  const Lists rows = rows_of(lists, 0, 5);
  for (size_t i = 0; i < 33; ++i) CHECK(std::equal(rows[i].begin(), rows[i].end(), last.keys.begin() + last.starts[i]));
  // Every key has the same chance: 33 rows of 10 keys under 300 heads, so 3000 each, with a deviation of about 46.
  const KeyLists many = key_lists(c, 1, 0.7, 300, {.offsets = alone}, 1);
  std::vector<int> times(33);
  for (const int32_t j : many.keys) ++times[static_cast<size_t>(j)];
  for (const int t : times) CHECK(std::abs(t - 3000) < 230);
}

TEST_CASE("BigBird: nearest, random and global connections") {
  for (const BigBird b : {BigBird{3, 2, 1}, BigBird{1, 0, 2}, BigBird{0, 4, 1}, BigBird{5, 0, 0}, BigBird{100, 3, 3}}) {
    SparsityConfig c = config_of(SparseMethod::bigbird);
    c.bigbird = b;
    c.keep_last = b.random == 2;
    const KeyLists lists = lists_of(c, 0);
    CHECK(lists.heads == (b.random > 0 ? heads : 1));
    for (int64_t h = 0; h < heads; ++h) {
      for (size_t s = 0; s < lengths.size(); ++s) {
        const int n = lengths[s];
        const Lists rows = rows_of(lists, h, s);
        for (int i = 0; i < n; ++i) {
          const auto& row = rows[static_cast<size_t>(i)];
          if (i < b.global) {
            CHECK(static_cast<int>(row.size()) == n);
            continue;
          }
          SparsityConfig near = config_of(SparseMethod::neighbour);
          std::set<int32_t> certain;
          for (const int32_t j : first_k(near, s, i, std::min<int64_t>(b.nearest, n))) certain.insert(j);
          for (int32_t j = 0; j < std::min<int64_t>(b.global, n); ++j) certain.insert(j);
          if (c.keep_last) certain.insert(n - 1);
          CHECK(std::includes(row.begin(), row.end(), certain.begin(), certain.end()));
          CHECK(row.size() == std::min(static_cast<size_t>(n), certain.size() + static_cast<size_t>(b.random)));
        }
      }
    }
  }
}

TEST_CASE("learned degrees are windows of each head") {
  SparsityConfig c = config_of(SparseMethod::learned_span);
  c.keep_first = true;  // the gate in training does not know it either
  const std::vector<int64_t> windows{0, 2, 50};
  const KeyLists lists = lists_of(c, 0, windows);
  CHECK(lists.heads == heads);
  for (int64_t h = 0; h < heads; ++h)
    for (size_t s = 0; s < lengths.size(); ++s) {
      const Lists rows = rows_of(lists, h, s);
      for (int i = 0; i < lengths[s]; ++i) {
        std::vector<int32_t> expected;
        for (int j = 0; j < lengths[s]; ++j)
          if (std::abs(i - j) <= windows[static_cast<size_t>(h)]) expected.push_back(j);
        CHECK(rows[static_cast<size_t>(i)] == expected);
      }
    }
  // Half a gate or more.
  for (const double ramp : {1.0, 4.0, 5.0}) {
    for (const double z : {0.0, 0.3, 2.0, 7.9}) {
      const int64_t w = hard_window(z, ramp);
      const auto gate = [&](int64_t d) { return std::clamp((ramp + z - static_cast<double>(d)) / ramp, 0.0, 1.0); };
      CHECK(gate(w) >= 0.5);
      CHECK(gate(w + 1) < 0.5);
    }
  }
  for (const double z : {1e300, std::numeric_limits<double>::infinity()}) CHECK(hard_window(z, 4) == int64_t{1} << 31);
  CHECK(hard_window(std::numeric_limits<double>::quiet_NaN(), 4) == 0);
}

TEST_CASE("the first query's list, as often as it is wanted") {
  for (const SparseMethod method : {SparseMethod::neighbour, SparseMethod::random_k}) {
    const SparsityConfig c = config_of(method);
    const KeyLists all = lists_of(c, 0.6);
    for (const int64_t copies : {1, 3}) {
      const KeyLists first = lists_of(c, 0.6, {}, {.first_only = true, .copies = copies});
      size_t row = 0;
      for (int64_t h = 0; h < all.heads; ++h)
        for (size_t s = 0; s < lengths.size(); ++s)
          for (int64_t copy = 0; copy < (lengths[s] > 0 ? copies : 0); ++copy, ++row)
            CHECK(std::vector<int32_t>(first.keys.begin() + first.starts[row],
                                       first.keys.begin() + first.starts[row + 1]) == rows_of(all, h, s)[0]);
      CHECK(first.starts.size() == row + 1);
    }
  }
}

TEST_CASE("the four methods by k have one effective sparsity, that of top-k") {
  for (const double sparsity : grid) {
    size_t expected = 0;
    for (const int n : lengths) expected += static_cast<size_t>(n > 0 ? n * top_k_count(sparsity, n) : 0);
    for (const SparseMethod method :
         {SparseMethod::neighbour, SparseMethod::lexical, SparseMethod::syntax, SparseMethod::random_k}) {
      const KeyLists lists = lists_of(config_of(method), sparsity);
      CHECK(lists.keys.size() == expected * static_cast<size_t>(lists.heads));
    }
  }
}

TEST_CASE("cosines of word embeddings") {
  const Tensor words = Tensor::normal({20, 16}, DType::f64, {.seed = 4});
  for (int d = 0; d < 16; ++d) words.data<double>()[3 * 16 + d] = 0;
  words.data<double>()[5 * 16] = std::numeric_limits<double>::quiet_NaN();
  const std::vector<int32_t> ids{1, 2, 3, 1, 5, 7, 7}, at{0, 4, 4, 7};
  const auto rows_of_words = [&](DType type) {
    Tape tape;
    return embedding(tape, words.to(type), on(Device::cpu, Rows(ids))).detach();
  };
  const std::vector<double> cosines = word_similarities(rows_of_words(DType::f64), at, 1);
  REQUIRE(cosines.size() == 16 + 9);
  const auto plain = [&](int32_t a, int32_t b) {
    const double *x = words.data<double>() + a * 16, *y = words.data<double>() + b * 16;
    const double dot = std::inner_product(x, x + 16, y, 0.0);
    return dot / std::sqrt(std::inner_product(x, x + 16, x, 0.0) * std::inner_product(y, y + 16, y, 0.0));
  };
  for (size_t i = 0; i < 4; ++i)
    for (size_t j = 0; j < 4; ++j)
      CHECK(cosines[i * 4 + j] == Approx(ids[i] == 3 || ids[j] == 3 ? 0 : plain(ids[i], ids[j])).margin(1e-14));
  CHECK(cosines[1] == cosines[3 * 4 + 1]);  // the same word twice ties exactly
  for (const size_t broken : {16, 17, 18, 19, 22}) CHECK(cosines[broken] == -2);
  CHECK(cosines[16 + 5] == Approx(1));
  // f32 up to rounding.
  const std::vector<double> rounded = word_similarities(rows_of_words(DType::f32), at, 2);
  for (size_t i = 0; i < 16; ++i) CHECK(rounded[i] == Approx(cosines[i]).margin(1e-6));
}

TEST_CASE("lists and cosines are the same at any number of threads") {
  SparsityConfig bigbird = config_of(SparseMethod::bigbird);
  bigbird.bigbird = BigBird{.nearest = 3, .random = 2, .global = 1};
  for (const SparsityConfig& c : {config_of(SparseMethod::random_k), config_of(SparseMethod::lexical), bigbird}) {
    const KeyLists alone = lists_of(c, 0.5, {}, {}, 1, 1);
    for (const int threads : {2, 3, 4}) {
      INFO(method_name(c.method) << ", " << threads << " threads");
      const KeyLists shared = lists_of(c, 0.5, {}, {}, 1, threads);
      CHECK(shared.starts == alone.starts);
      CHECK(shared.keys == alone.keys);
    }
  }
  const Tensor words = Tensor::normal({offsets.back(), 16}, DType::f32, {.seed = 4});
  const std::vector<double> alone = word_similarities(words, offsets, 1);
  for (const int threads : {2, 3, 4}) CHECK(word_similarities(words, offsets, threads) == alone);
}

TEST_CASE("syntax without parses says what is missing") {
  CHECK_THROWS_WITH(key_lists(config_of(SparseMethod::syntax), 0, 0.5, heads, {.offsets = offsets}, 1),
                    Catch::Contains("--parses"));
}
