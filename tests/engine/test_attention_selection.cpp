// The selections by sparsity over a grid of sparsities and lengths, ties by hand, infinities and statistics.
#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/kernels.h"
#include "tests/engine/attention_members.h"
#include "tests/engine/helpers.h"
#include "tests/engine/naive_attention.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// k = max(1, floor((1 - s) n + 1/2)) in integers, the sparsity in thousandths.
int64_t exact_k(double sparsity, int64_t n) {
  const int64_t thousandths = std::lround(1000 * sparsity);
  return std::max<int64_t>(1, (2 * (1000 - thousandths) * n + 1000) / 2000);
}

const double grid[] = {0, 0.05, 0.1, 0.25, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99};
const Selection selections[] = {Selection::all, Selection::top_k_row, Selection::percentile_head};

AttentionRule rule_of(Selection selection, double sparsity, int64_t heads = 1) {
  return {.heads = heads, .scale = 1, .selection = selection, .sparsity = sparsity, .dropout = {}};
}

Tensor random_scores(int64_t n, int64_t seed, DType type = DType::f64) {
  return numbers({n, n}, static_cast<uint64_t>(seed), type, 0, 2);
}

Tensor scores_of(const std::vector<double>& values, int64_t n) { return tensor_of(values, {n, n}, DType::f64); }

int64_t count_positive(const double* row, int64_t n) {
  return std::count_if(row, row + n, [](double w) { return w > 0; });
}

}  // namespace

namespace {
// An emulated GPU is too slow for every length.
int64_t length_step() { return test_device() == Device::cpu ? 1 : 13; }
}  // namespace

TEST_CASE("a row's weights add up to one at every sparsity") {
  for (const DType type : {DType::f32, DType::f64}) {
    for (const Selection selection : selections) {
      for (const double s : grid) {
        for (const int64_t n : {1, 2, 7, 16, 33}) {
          const auto weights = weights_of(random_scores(n, n, type), rule_of(selection, s));
          for (int64_t i = 0; i < n; ++i) {
            const double sum = std::accumulate(weights.begin() + i * n, weights.begin() + (i + 1) * n, 0.0);
            REQUIRE(std::abs(sum - 1) <= (type == DType::f64 ? 1e-14 : 1e-6));
          }
        }
      }
    }
  }
}

TEST_CASE("top-k keeps the k largest scores of every row, k from the real length") {
  for (int64_t n = 1; n <= 40; n += length_step()) {
    const Tensor rows = random_scores(n, 100 + n);
    const std::vector<double> scores = rows.to_vector();
    for (const double s : grid) {
      const int64_t k = exact_k(s, n);
      const auto weights = weights_of(rows, rule_of(Selection::top_k_row, s));
      for (int64_t i = 0; i < n; ++i) {
        const double *row = weights.data() + i * n, *score = scores.data() + i * n;
        INFO("length " << n << ", sparsity " << s << ", row " << i);
        REQUIRE(count_positive(row, n) == k);
        double smallest_kept = infinity, largest_lost = -infinity;
        for (int64_t j = 0; j < n; ++j) {
          if (row[j] > 0)
            smallest_kept = std::min(smallest_kept, score[j]);
          else
            largest_lost = std::max(largest_lost, score[j]);
        }
        REQUIRE(smallest_kept > largest_lost);
      }
    }
  }
}

TEST_CASE("k is what the decimal sparsity says, also where binary rounding would lose one") {
  CHECK(exact_k(0.9, 15) == 2);  // 1.5 + 0.5; in f64, (1 - 0.9) * 15 + 0.5 is less than 2
  for (int thousandths = 0; thousandths < 1000; ++thousandths) {
    const double s = thousandths / 1000.0;
    for (int64_t n = 1; n <= 512; ++n) {
      if (top_k_count(s, n) != exact_k(s, n)) FAIL("sparsity " << s << ", length " << n << ": " << top_k_count(s, n));
    }
  }
  for (const auto& [s, n] : {std::pair<double, int64_t>{0.9, 15}, {0.9, 25}, {0.9, 35}, {0.3, 45}, {0.7, 45}}) {
    const auto weights = weights_of(random_scores(n, 300), rule_of(Selection::top_k_row, s));
    INFO("length " << n << ", sparsity " << s);
    for (int64_t i = 0; i < n; ++i) REQUIRE(count_positive(weights.data() + i * n, n) == exact_k(s, n));
  }
  // The golden files were made with max(1, floor((1 - 0.8) n + 0.5)) in floating point: the same at this sparsity.
  for (int64_t n = 1; n <= 512; ++n)
    REQUIRE(top_k_count(0.8, n) == std::max(1.0, std::floor((1 - 0.8) * static_cast<double>(n) + 0.5)));
}

TEST_CASE("the percentile keeps the scores at or above it, and every row its best") {
  for (int64_t n = 1; n <= 40; n += length_step()) {
    const Tensor scores = random_scores(n, 200 + n), unit = unit_matrix(n, DType::f64),
                 offsets = offsets_of({static_cast<int32_t>(n)});
    const std::vector<double> no_gradient(static_cast<size_t>(n * n));
    for (const double s : grid) {
      const AttentionRule rule = rule_of(Selection::percentile_head, s);
      const std::vector<bool> expected =
          naive_attention(scores, unit, unit, offsets, offsets, rule, no_gradient).allowed;
      const auto weights = weights_of(scores, rule);
      for (size_t i = 0; i < weights.size(); ++i) {
        if ((weights[i] > 0) != expected[i])
          FAIL_CHECK("length " << n << ", sparsity " << s << ", row " << i / static_cast<size_t>(n) << ", key "
                               << i % static_cast<size_t>(n));
      }
    }
  }
}

TEST_CASE("equal scores: top-k keeps the earliest") {
  //                                 row 0: all equal   row 1: two classes  row 2: a tie below the best
  const std::vector<double> scores{3, 3, 3, 3, 3, 3, /**/ 1,  5,  1,  5,  1,  5,  /**/ 0, 2, 9, 2, 2, 0,
                                   0, 0, 0, 0, 0, 1, /**/ -1, -1, -1, -2, -1, -1, /**/ 4, 4, 0, 0, 4, 4};
  const auto weights = weights_of(scores_of(scores, 6), rule_of(Selection::top_k_row, 0.5));  // 3 of 6
  const std::vector<std::vector<int>> kept{{0, 1, 2}, {1, 3, 5}, {1, 2, 3}, {0, 1, 5}, {0, 1, 2}, {0, 1, 4}};
  for (size_t i = 0; i < 6; ++i) {
    std::vector<int> found;
    for (size_t j = 0; j < 6; ++j)
      if (weights[i * 6 + j] > 0) found.push_back(static_cast<int>(j));
    CHECK(found == kept[i]);
  }
}

TEST_CASE("equal scores at the percentile are all kept, a row below it keeps its earliest best") {
  // Sorted: 0 0 0 1 1 1 5 5 5. The 0.75 quantile is 5: rows 1 and 2 would keep nothing.
  const auto weights = weights_of(scores_of({5, 5, 5, 1, 1, 1, 0, 0, 0}, 3), rule_of(Selection::percentile_head, 0.75));
  const double third = 1.0 / 3;
  const std::vector<double> expected{third, third, third, 1, 0, 0, 1, 0, 0};
  for (size_t i = 0; i < expected.size(); ++i) CHECK(std::abs(weights[i] - expected[i]) <= 1e-15);
}

TEST_CASE("infinite values: only a key that was not selected hides one") {
  // One query row of interest; key 2's score is so low that its weight underflows to 0.
  const auto result = [](Selection selection, double sparsity, double last) {
    Tape tape(Tape::Mode::inference);
    const Tensor q = vec({1}).view({1, 1}), k = vec({1, 0, -5000}).view({3, 1}), v = vec({1, 1, last}).view({3, 1});
    return attention(tape, q, k, v, {offsets_of({1}), offsets_of({3})}, rule_of(selection, sparsity)).item();
  };
  for (const auto& [selection, sparsity] : {std::pair{Selection::all, 0.0}, {Selection::top_k_row, 0.1}}) {
    CHECK(result(selection, sparsity, 1) == Approx(1).epsilon(1e-15));
    CHECK(std::isnan(result(selection, sparsity, infinity)));  // 0 times infinity
  }
  CHECK(result(Selection::top_k_row, 0.4, infinity) == Approx(1).epsilon(1e-15));
}

TEST_CASE("at every density, with many ties, attention and its gradients equal plain loops", "[isa]") {
  // Where many keys are kept, whole products with a mask take the place of lists. Quarters: scores are exact.
  const bool cpu = test_device() == Device::cpu;
  const std::vector<int32_t> lengths = cpu ? std::vector<int32_t>{1, 2, 16, 17, 40, 130} : std::vector<int32_t>{1, 17};
  const Tensor offsets = offsets_of(lengths);
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0}), heads = 2, dim = 2 * 12;
  const auto quarters = [&](uint64_t seed) {
    std::vector<double> x = numbers({total, dim}, seed).to_vector();
    for (double& e : x) e = std::round(4 * e) / 4;
    return tensor_of(x, {total, dim}, DType::f32).set_requires_grad();
  };
  const Tensor q = quarters(1), k = quarters(2), v = quarters(3), dout = numbers({total, dim}, 4, DType::f32);
  for (const Selection selection : {Selection::top_k_row, Selection::top_k_ties, Selection::bottom_k}) {
    for (const double s : {0.02, 0.1, 0.25, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.98}) {
      AttentionRule rule = rule_of(selection, s, heads);
      rule.scale = 0.25;
      rule.keep_first = s == 0.1 || s == 0.8;
      rule.dropout = {0.1, {.seed = 7, .stream = Stream::dropout}};
      INFO("selection " << static_cast<int>(selection) << ", sparsity " << s);
      const NaiveAttention expected = naive_attention(q, k, v, offsets, offsets, rule, dout.to_vector());
      for (const Tensor& t : {q, k, v}) t.clear_grad();
      Tape tape;
      AttentionStats stats;
      const Tensor out = attention(tape, q, k, v, {offsets, offsets}, rule, &stats);
      tape.backward(sum(tape, mul(tape, out, dout)));
      CHECK(relative_error(out.to_vector(), expected.out) < 6e-6);
      CHECK(relative_error(q.grad().to_vector(), expected.dq) < 6e-6);
      CHECK(relative_error(k.grad().to_vector(), expected.dk) < 6e-6);
      CHECK(relative_error(v.grad().to_vector(), expected.dv) < 6e-6);
      CHECK(stats.kept.to_vector() == expected.kept);
      CHECK(relative_error(stats.log_kept.to_vector(), expected.log_kept) < 1e-14);
      CHECK(relative_error(stats.entropy.to_vector(), expected.entropy) < 6e-6);
    }
  }
}

TEST_CASE("dropout draws by place where at most half of the keys are kept, else by key, and so backward") {
  // Two sequences; with unit keys and values the output is the weights after dropout, and dv is its transpose by dout.
  const RandomKey key{.seed = 5, .stream = Stream::dropout, .step = 3, .site = 1};
  const std::vector<int64_t> lengths =
      test_device() == Device::cpu ? std::vector<int64_t>{1, 2, 9, 40, 70} : std::vector<int64_t>{2, 9, 40};
  for (const DType type : {DType::f64, DType::f32}) {
    for (const int64_t n : lengths) {
      const auto size = static_cast<size_t>(n);
      std::vector<double> units(2 * size * size);
      for (size_t i = 0; i < 2 * size; ++i) units[i * size + i % size] = 1;
      const Tensor q = numbers({2 * n, n}, 6, type, 0, 2), k = tensor_of(units, {2 * n, n}, type),
                   dout = numbers({2 * n, n}, 7, type);
      const Tensor v = tensor_of(units, {2 * n, n}, type).set_requires_grad();
      const Tensor offsets = offsets_of({static_cast<int32_t>(n), static_cast<int32_t>(n)});
      for (const Normaliser normaliser : {Normaliser::softmax, Normaliser::sparsemax, Normaliser::entmax15}) {
        for (const double s : {0.0, 0.3, 0.5, 0.6, 0.9}) {
          INFO(name_of(type) << ", " << n << " keys, sparsity " << s << ", normaliser "
                             << static_cast<int>(normaliser));
          AttentionRule rule = rule_of(Selection::top_k_row, s);
          rule.normaliser = normaliser;
          const auto output = [&] {
            v.clear_grad();
            Tape tape;
            const Tensor out = attention(tape, q, k, v, {offsets, offsets}, rule);
            tape.backward(sum(tape, mul(tape, out, dout)));
            return out.to_vector();
          };
          const std::vector<double> weights = output();
          rule.dropout = {0.4, key};
          const std::vector<double> dropped = output(), dv = v.grad().to_vector(), d = dout.to_vector();
          std::vector<double> expected(weights.size()), expected_dv(weights.size());
          for (size_t row = 0; row < 2 * size; ++row) {
            const bool by_place = 2 * count_positive(&weights[row * size], n) <= n;
            size_t place = 0;
            for (size_t j = 0; j < size; ++j) {
              const size_t e = row * size + j;
              if (weights[e] == 0) continue;
              if (keeps(random_word(key, row * size + (by_place ? place : j)), 0.4)) expected[e] = weights[e] / 0.6;
              ++place;
              for (size_t c = 0; c < size; ++c)
                expected_dv[(row / size * size + j) * size + c] += expected[e] * d[row * size + c];
            }
          }
          const double most = type == DType::f64 ? 1e-14 : 1e-6;
          CHECK(relative_error(dropped, expected) < most);
          CHECK(relative_error(dv, expected_dv) < most);
        }
      }
    }
  }
}

TEST_CASE("what a key that was not kept holds does no harm, few or many being kept") {
  // Key 2 of 20 has the lowest score of every query, and an infinite key or value.
  const int64_t n = 20;
  for (const bool infinite_key : {false, true}) {
    for (const double s : {0.05, 0.3, 0.5, 0.8}) {
      std::vector<double> keys(n), values(n);
      for (int64_t j = 0; j < n; ++j) keys[j] = 0.1 * static_cast<double>(j), values[j] = static_cast<double>(j % 3);
      keys[2] = infinite_key ? -infinity : -9;
      values[2] = infinite_key ? 1 : infinity;
      const Tensor q = full({n, 1}, DType::f32, 1).set_requires_grad(),
                   k = tensor_of(keys, {n, 1}, DType::f32).set_requires_grad(),
                   v = tensor_of(values, {n, 1}, DType::f32).set_requires_grad();
      const Tensor offsets = offsets_of({static_cast<int32_t>(n)});
      Tape tape;
      const Tensor out = attention(tape, q, k, v, {offsets, offsets}, rule_of(Selection::top_k_row, s));
      tape.backward(sum(tape, out));
      INFO("sparsity " << s << (infinite_key ? ", key" : ", value"));
      for (const Tensor& t : {out, q.grad(), k.grad(), v.grad()})
        for (const double x : t.to_vector()) REQUIRE(std::isfinite(x));
      CHECK(v.grad().to_vector()[2] == 0);
      CHECK(k.grad().to_vector()[2] == 0);
    }
  }
}

TEST_CASE("keys that are not numbers leave nothing of the result") {
  // One such key makes one score of every row NaN; it counts as the largest.
  const Tensor offsets = offsets_of({5});
  const Tensor q = numbers({5, 4}, 1, DType::f32), v = numbers({5, 4}, 2, DType::f32);
  const Tensor all = full({5, 4}, DType::f32, std::nan("")), one = numbers({5, 4}, 3, DType::f32);
  one.view_rows(3, 1).view({4}).view_rows(0, 1).copy_from(vec({std::nan("")}, DType::f32));  // key 3
  Tape tape(Tape::Mode::inference);
  for (const Selection selection : selections) {
    for (const Tensor& keys : {one, all}) {
      for (const double p : {0.0, 0.9}) {  // dropped or not: 0 times a NaN is one, too
        AttentionRule rule = rule_of(selection, 0.8);
        rule.dropout = {p, {.seed = 1, .stream = Stream::dropout}};
        const auto out = attention(tape, q, keys, v, {offsets, offsets}, rule).to_vector();
        CHECK(std::all_of(out.begin(), out.end(), [](double x) { return std::isnan(x); }));
      }
    }
  }
}

TEST_CASE("statistics are those of the weights") {
  const int64_t n = 19;
  for (const Selection selection : selections) {
    for (const double s : grid) {
      AttentionStats stats;
      const auto weights = weights_of(random_scores(n, 5), rule_of(selection, s), &stats);
      double entropy = 0;
      for (const double w : weights)
        if (w > 0) entropy -= w * std::log(w);
      CHECK(stats.kept.item() == static_cast<double>(count_positive(weights.data(), n * n)));
      CHECK(stats.pairs == n * n);
      CHECK(stats.queries == n);
      CHECK(stats.entropy.item() == Approx(entropy).epsilon(1e-13));
      double log_kept = 0;
      for (int64_t i = 0; i < n; ++i) log_kept += std::log(count_positive(weights.data() + i * n, n));
      CHECK(stats.log_kept.item() == Approx(log_kept).epsilon(1e-14).margin(1e-300));
    }
  }
}

TEST_CASE("the statistics of a batch are per head, summed over sequences") {
  const Tensor offsets = offsets_of({3, 0, 10}), q = numbers({13, 8}, 1), k = numbers({13, 8}, 2);
  const Selection selection = GENERATE(Selection::percentile_head, Selection::all);
  const AttentionRule rule = rule_of(selection, 0.6, 2);
  Tape tape(Tape::Mode::inference);
  AttentionStats both;
  attention(tape, q, k, k, {offsets, offsets}, rule, &both);
  std::vector<double> kept(2), entropy(2);
  for (const auto& [begin, count] : {std::pair{0, 3}, {3, 10}}) {
    AttentionStats one;
    const Tensor alone = offsets_of({count}), keys = k.view_rows(begin, count);
    attention(tape, q.view_rows(begin, count), keys, keys, {alone, alone}, rule, &one);
    for (size_t h = 0; h < 2; ++h) {
      kept[h] += one.kept.to_vector()[h];
      entropy[h] += one.entropy.to_vector()[h];
    }
  }
  CHECK(both.kept.to_vector() == kept);
  CHECK(both.entropy.to_vector() == entropy);
  for (const double x : both.log_kept.to_vector()) CHECK(std::isfinite(x));  // an empty sequence adds nothing
  CHECK(both.queries == 13);
  CHECK(both.pairs == 109);
}
