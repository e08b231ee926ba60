// Properties of the selection in attention(), seen from outside: with the unit matrix as values, a row of the result
// is the row of weights.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/support/small_model.h"

using namespace crisp;
using namespace crisp::test;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

// k = max(1, floor((1 - s) n + 1/2)) in integers, the sparsity in thousandths.
int64_t exact_k(double sparsity, int64_t n) {
  const int64_t thousandths = std::lround(1000 * sparsity);
  return std::max<int64_t>(1, (2 * (1000 - thousandths) * n + 1000) / 2000);
}

const double grid[] = {0, 0.05, 0.1, 0.25, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99};

AttentionRule rule_of(Selection selection, double sparsity, int64_t heads = 1) {
  return {.heads = heads, .scale = 1, .selection = selection, .sparsity = sparsity, .dropout = {}};
}

Tensor offsets_of(const std::vector<int32_t>& values) {
  return Tensor::from(std::span<const int32_t>(values), {static_cast<int64_t>(values.size())});
}

Tensor unit_matrix(int64_t n, DType dtype) {
  const Tensor unit = Tensor::zeros({n, n}, dtype);
  std::vector<double> values(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) values[static_cast<size_t>(i * n + i)] = 1;
  unit.copy_from(Tensor::from(values, {n, n}, dtype));
  return unit;
}

// The weights [n, n] that one sequence with exactly these scores gets: scores = q I'.
std::vector<double> weights_of(const std::vector<double>& scores, int64_t n, const AttentionRule& rule,
                               DType dtype = DType::f64, AttentionStats* stats = nullptr) {
  Tape tape(Tape::Mode::inference);
  const Tensor unit = unit_matrix(n, dtype), q = Tensor::from(scores, {n, n}, dtype);
  const Tensor offsets = offsets_of({0, static_cast<int32_t>(n)});
  return attention(tape, q, unit, unit, offsets, offsets, rule, stats).to_vector();
}

std::vector<double> random_scores(int64_t n, uint64_t seed) {
  return Tensor::normal({n, n}, DType::f64, {.seed = seed}, 0, 2).to_vector();
}

int64_t count_positive(const double* row, int64_t n) {
  return std::count_if(row, row + n, [](double w) { return w > 0; });
}

// The `sparsity` quantile with linear interpolation.
double quantile(std::vector<double> scores, double q) {
  std::sort(scores.begin(), scores.end());
  const double at = q * static_cast<double>(scores.size() - 1);
  const auto below = static_cast<size_t>(at);
  if (below + 1 == scores.size()) return scores[below];
  return scores[below] + (at - static_cast<double>(below)) * (scores[below + 1] - scores[below]);
}

}  // namespace

TEST_CASE("a row's weights add up to one, whatever was kept") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const Selection selection : {Selection::all, Selection::top_k_row, Selection::percentile_head}) {
      for (const double s : grid) {
        for (const int64_t n : {1, 2, 7, 16, 33}) {
          const auto weights = weights_of(random_scores(n, static_cast<uint64_t>(n)), n, rule_of(selection, s), dtype);
          for (int64_t i = 0; i < n; ++i) {
            const double sum = std::accumulate(weights.begin() + i * n, weights.begin() + (i + 1) * n, 0.0);
            REQUIRE(std::abs(sum - 1) <= (dtype == DType::f64 ? 1e-14 : 1e-6));
          }
        }
      }
    }
  }
}

TEST_CASE("top-k keeps the k largest scores of every row, k from the real length") {
  for (int64_t n = 1; n <= 40; ++n) {
    const std::vector<double> scores = random_scores(n, static_cast<uint64_t>(100 + n));
    for (const double s : grid) {
      const int64_t k = exact_k(s, n);
      const auto weights = weights_of(scores, n, rule_of(Selection::top_k_row, s));
      for (int64_t i = 0; i < n; ++i) {
        const double *row = weights.data() + i * n, *score = scores.data() + i * n;
        INFO("length " << n << ", sparsity " << s << ", row " << i);
        REQUIRE(count_positive(row, n) == k);
        double smallest_kept = std::numeric_limits<double>::infinity(), largest_lost = -smallest_kept;
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
    const auto weights = weights_of(random_scores(n, 300), n, rule_of(Selection::top_k_row, s));
    INFO("length " << n << ", sparsity " << s);
    for (int64_t i = 0; i < n; ++i) REQUIRE(count_positive(weights.data() + i * n, n) == exact_k(s, n));
  }
  // The golden files were made with max(1, floor((1 - 0.8) n + 0.5)) in floating point: the same at this sparsity.
  for (int64_t n = 1; n <= 512; ++n)
    REQUIRE(top_k_count(0.8, n) == std::max(1.0, std::floor((1 - 0.8) * static_cast<double>(n) + 0.5)));
}

TEST_CASE("infinite values: only a key that was not selected hides one") {
  // One query row of interest; key 2's score is so low that its weight underflows to 0.
  const auto result = [](Selection selection, double sparsity, double last) {
    Tape tape(Tape::Mode::inference);
    const Tensor q = Tensor::from(std::vector<double>{1}, {1, 1}, DType::f64);
    const Tensor k = Tensor::from(std::vector<double>{1, 0, -5000}, {3, 1}, DType::f64);
    const Tensor v = Tensor::from(std::vector<double>{1, 1, last}, {3, 1}, DType::f64);
    return attention(tape, q, k, v, offsets_of({0, 1}), offsets_of({0, 3}), rule_of(selection, sparsity)).item();
  };
  const double infinity = std::numeric_limits<double>::infinity();
  for (const auto& [selection, sparsity] : {std::pair{Selection::all, 0.0}, {Selection::top_k_row, 0.1}}) {
    CHECK(result(selection, sparsity, 1) == Approx(1).epsilon(1e-15));
    CHECK(std::isnan(result(selection, sparsity, infinity)));  // 0 times infinity
  }
  CHECK(result(Selection::top_k_row, 0.4, infinity) == Approx(1).epsilon(1e-15));
}

TEST_CASE("the percentile keeps the scores at or above it, and every row its best") {
  for (int64_t n = 1; n <= 40; ++n) {
    const std::vector<double> scores = random_scores(n, static_cast<uint64_t>(200 + n));
    for (const double s : grid) {
      const double threshold = s == 0 ? -1e300 : quantile(scores, s);
      const auto weights = weights_of(scores, n, rule_of(Selection::percentile_head, s));
      for (int64_t i = 0; i < n; ++i) {
        const double* score = scores.data() + i * n;
        const int64_t best = std::max_element(score, score + n) - score;
        for (int64_t j = 0; j < n; ++j) {
          INFO("length " << n << ", sparsity " << s << ", row " << i << ", key " << j);
          REQUIRE((weights[static_cast<size_t>(i * n + j)] > 0) == (score[j] >= threshold || j == best));
        }
      }
    }
  }
}

TEST_CASE("equal scores: top-k keeps the earliest") {
  //                                 row 0: all equal   row 1: two classes  row 2: a tie below the best
  const std::vector<double> scores{3, 3, 3, 3, 3, 3, /**/ 1,  5,  1,  5,  1,  5,  /**/ 0, 2, 9, 2, 2, 0,
                                   0, 0, 0, 0, 0, 1, /**/ -1, -1, -1, -2, -1, -1, /**/ 4, 4, 0, 0, 4, 4};
  const auto weights = weights_of(scores, 6, rule_of(Selection::top_k_row, 0.5));  // 3 of 6
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
  const auto weights = weights_of({5, 5, 5, 1, 1, 1, 0, 0, 0}, 3, rule_of(Selection::percentile_head, 0.75));
  const double third = 1.0 / 3;
  const std::vector<double> expected{third, third, third, 1, 0, 0, 1, 0, 0};
  CHECK(largest_difference(weights, expected) <= 1e-15);
}

TEST_CASE("sparsity 0 is dense attention bit for bit, backward too") {
  const Tensor offsets = offsets_of({0, 1, 6, 23, 60});
  const auto run = [&](Selection selection, DType dtype) {
    std::vector<Tensor> inputs, results;
    for (uint64_t i = 1; i <= 3; ++i)
      inputs.push_back(Tensor::normal({60, 24}, dtype, {.seed = i}).set_requires_grad());
    Tape tape;
    AttentionRule rule = rule_of(selection, 0, 4);
    rule.dropout = {0.1, {.seed = 9, .stream = Stream::dropout}};
    const Tensor out = attention(tape, inputs[0], inputs[1], inputs[2], offsets, offsets, rule);
    results.push_back(out);
    tape.backward(sum(tape, mul(tape, out, Tensor::normal({60, 24}, dtype, {.seed = 4}))));
    for (const Tensor& t : inputs) results.push_back(t.grad());
    return results;
  };
  for (const DType dtype : {DType::f32, DType::f64}) {
    const std::vector<Tensor> dense = run(Selection::all, dtype);
    for (const Selection selection : {Selection::top_k_row, Selection::percentile_head}) {
      const std::vector<Tensor> sparse = run(selection, dtype);
      for (size_t i = 0; i < dense.size(); ++i) CHECK(same_bits(sparse[i], dense[i]));
    }
  }
}

TEST_CASE("a sequence's attention does not depend on its neighbours, bit for bit") {
  const std::vector<int32_t> lengths{5, 17, 1, 30};
  const int64_t dim = 24;
  std::vector<std::vector<double>> rows;  // per sequence: q, k, v
  for (size_t s = 0; s < lengths.size(); ++s)
    for (uint64_t part = 0; part < 3; ++part)
      rows.push_back(Tensor::normal({lengths[s], dim}, DType::f32, {.seed = 10 * s + part}).to_vector());
  const auto run = [&](const std::vector<size_t>& order, const AttentionRule& rule) {
    std::vector<double> qkv[3];
    std::vector<int32_t> offsets{0};
    for (const size_t s : order) {
      for (size_t part = 0; part < 3; ++part)
        qkv[part].insert(qkv[part].end(), rows[3 * s + part].begin(), rows[3 * s + part].end());
      offsets.push_back(offsets.back() + lengths[s]);
    }
    const auto tensor = [&](size_t part) { return Tensor::from(qkv[part], {offsets.back(), dim}, DType::f32); };
    Tape tape(Tape::Mode::inference);
    const Tensor out = attention(tape, tensor(0), tensor(1), tensor(2), offsets_of(offsets), offsets_of(offsets), rule);
    std::vector<Tensor> parts(lengths.size());
    for (size_t i = 0; i < order.size(); ++i) parts[order[i]] = out.view_rows(offsets[i], lengths[order[i]]).clone();
    return parts;
  };
  for (const Selection selection : {Selection::all, Selection::top_k_row, Selection::percentile_head}) {
    const AttentionRule rule = rule_of(selection, 0.7, 3);
    const auto expected = run({0, 1, 2, 3}, rule);
    for (const std::vector<size_t>& order : {std::vector<size_t>{3, 1, 0, 2}, {2, 0, 3, 1}}) {
      const auto actual = run(order, rule);
      for (size_t s = 0; s < lengths.size(); ++s) CHECK(same_bits(actual[s], expected[s]));
    }
  }
}

TEST_CASE("statistics are those of the weights") {
  const int64_t n = 19;
  for (const Selection selection : {Selection::all, Selection::top_k_row, Selection::percentile_head}) {
    for (const double s : grid) {
      AttentionStats stats;
      const auto weights = weights_of(random_scores(n, 5), n, rule_of(selection, s), DType::f64, &stats);
      double entropy = 0;
      for (const double w : weights)
        if (w > 0) entropy -= w * std::log(w);
      CHECK(stats.kept.item() == static_cast<double>(count_positive(weights.data(), n * n)));
      CHECK(stats.pairs.item() == static_cast<double>(n * n));
      CHECK(stats.queries.item() == static_cast<double>(n));
      CHECK(stats.entropy.item() == Approx(entropy).epsilon(1e-13));
      double log_kept = 0;
      for (int64_t i = 0; i < n; ++i) log_kept += std::log(count_positive(weights.data() + i * n, n));
      CHECK(stats.log_kept.item() == Approx(log_kept).epsilon(1e-14).margin(1e-300));
    }
  }
}

TEST_CASE("the statistics of a batch are per head, summed over sequences") {
  const Tensor offsets = offsets_of({0, 3, 13});
  const Tensor q = Tensor::normal({13, 8}, DType::f64, {.seed = 1}),
               k = Tensor::normal({13, 8}, DType::f64, {.seed = 2});
  Tape tape(Tape::Mode::inference);
  AttentionStats both;
  attention(tape, q, k, k, offsets, offsets, rule_of(Selection::percentile_head, 0.6, 2), &both);
  std::vector<double> kept(2), entropy(2);
  for (const auto& [begin, count] : {std::pair{0, 3}, {3, 10}}) {
    AttentionStats one;
    const Tensor alone = offsets_of({0, count}), keys = k.view_rows(begin, count);
    attention(tape, q.view_rows(begin, count), keys, keys, alone, alone, rule_of(Selection::percentile_head, 0.6, 2),
              &one);
    for (size_t h = 0; h < 2; ++h) {
      kept[h] += one.kept.to_vector()[h];
      entropy[h] += one.entropy.to_vector()[h];
    }
  }
  CHECK(both.kept.to_vector() == kept);
  CHECK(both.entropy.to_vector() == entropy);
  CHECK(both.queries.to_vector() == std::vector<double>{13, 13});
  CHECK(both.pairs.to_vector() == std::vector<double>{109, 109});
}

TEST_CASE("a score that is not a number shows up in its row") {
  const int64_t n = 9;
  for (const Selection selection : {Selection::all, Selection::top_k_row, Selection::percentile_head}) {
    for (const double s : {0.3, 0.8}) {
      // q row 4 is NaN: so are all of its scores. The unit matrix as keys would spread a single NaN anyway.
      std::vector<double> scores = random_scores(n, 6);
      for (int64_t j = 0; j < n; ++j) scores[static_cast<size_t>(4 * n + j)] = not_a_number;
      AttentionStats stats;
      const auto weights = weights_of(scores, n, rule_of(selection, s), DType::f64, &stats);
      const auto row = weights.begin() + 4 * n;
      CHECK(std::any_of(row, row + n, [](double w) { return std::isnan(w); }));
    }
  }
  // A key that is NaN makes one score of every row NaN; where all are NaN, so is all that comes out.
  const Tensor offsets = offsets_of({0, 5});
  const Tensor q = Tensor::normal({5, 4}, DType::f32, {.seed = 1}), v = Tensor::normal({5, 4}, DType::f32, {.seed = 2});
  const Tensor all = Tensor::full({5, 4}, DType::f32, not_a_number),
               one = Tensor::normal({5, 4}, DType::f32, {.seed = 3});
  one.data<float>()[4 * 3] = std::numeric_limits<float>::quiet_NaN();  // key 3
  Tape tape(Tape::Mode::inference);
  for (const Selection selection : {Selection::all, Selection::top_k_row, Selection::percentile_head}) {
    for (const Tensor& keys : {one, all}) {
      const auto out = attention(tape, q, keys, v, offsets, offsets, rule_of(selection, 0.8)).to_vector();
      CHECK(std::all_of(out.begin(), out.end(), [](double x) { return std::isnan(x); }));
    }
  }
}
