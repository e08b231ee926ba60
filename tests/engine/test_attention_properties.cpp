// What holds for every member of the family of sparse attention, and what each removes.
#include <algorithm>
#include <numeric>

#include "tests/engine/attention_members.h"
#include "tests/engine/helpers.h"
#include "tests/engine/naive_attention.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// How far the scores of a row (for 1.5-entmax their halves) lie above the normaliser's threshold, which follows from
// the largest of the row's weights.
std::vector<double> over_threshold(Normaliser normaliser, const std::vector<double>& scores,
                                   const std::vector<double>& weights) {
  const bool halves = normaliser == Normaliser::entmax15;
  const auto best = static_cast<size_t>(std::max_element(weights.begin(), weights.end()) - weights.begin());
  const double over_best = halves ? std::sqrt(weights[best]) : weights[best];
  std::vector<double> over;
  for (const double z : scores) over.push_back((halves ? 0.5 : 1) * (z - scores[best]) + over_best);
  return over;
}

// Sparsemax and 1.5-entmax: the support is that of the oracle's weights, up to what rounding moves its threshold.
void check_support(Normaliser normaliser, DType type, int64_t n, const std::vector<double>& scores,
                   const std::vector<double>& weights, const NaiveAttention& expected) {
  const double tiny = type == DType::f64 ? 1e-14 : 1e-6;
  for (int64_t i = 0; i < n; ++i) {
    const auto row = [&](const std::vector<double>& of) {
      return std::vector<double>(of.begin() + i * n, of.begin() + (i + 1) * n);
    };
    const std::vector<double> z = row(scores), w = row(weights), right = row(expected.weights),
                              over = over_threshold(normaliser, z, right);
    const auto [least, largest] = std::minmax_element(z.begin(), z.end());
    const double margin = 1e-4 * (*largest - *least);
    for (size_t j = 0; j < static_cast<size_t>(n); ++j) {
      const bool allowed = expected.allowed[static_cast<size_t>(i * n) + j];
      const bool outside = !allowed || over[j] < -margin, inside = allowed && over[j] > margin;
      if ((outside && w[j] != 0) || (right[j] == 0 && !(w[j] <= tiny)) || ((inside || right[j] > 1e-6) && !(w[j] > 0)))
        FAIL_CHECK("query " << i << ", key " << j << ": weight " << w[j] << " for " << right[j] << ", " << over[j]
                            << " above the threshold");
    }
  }
}

}  // namespace

TEST_CASE("what is kept is exactly what is defined, with ties, and a row adds up to one", "[isa]") {
  // An emulated GPU takes too long for more; that it keeps the CPU's keys of long rows has tests of its own.
  const std::vector<int64_t> lengths = test_device() == Device::cpu
                                           ? std::vector<int64_t>{1, 2, 6, 15, 16, 17, 33, 40, 70}
                                           : std::vector<int64_t>{1, 6, 17};
  for (const DType type : {DType::f32, DType::f64}) {
    for (const int64_t n : lengths) {
      for (const bool ties : {false, true}) {
        Tensor scores = numbers({n, n}, static_cast<uint64_t>(n), type, 0, 1.5);
        if (ties) {  // halves: many equal ones, -0 among them
          std::vector<double> values = scores.to_vector();
          for (double& x : values) x = std::round(2 * x) / 2;
          scores = tensor_of(values, {n, n}, type);
        }
        for (Member& m : members(1, type, {static_cast<int32_t>(n)})) {
          INFO(m.name << ", " << name_of(type) << ", " << n << " keys" << (ties ? ", ties" : ""));
          m.rule.scale = 1;
          const Tensor unit = unit_matrix(n, type);
          const Tensor offsets = i32({0, static_cast<int32_t>(n)});
          const NaiveAttention expected = naive_attention(scores, unit, unit, offsets, offsets, m.rule,
                                                          std::vector<double>(static_cast<size_t>(n * n)));
          AttentionStats stats;
          const std::vector<double> weights = weights_of(scores, m.rule, &stats);
          const bool softmax = m.rule.normaliser == Normaliser::softmax;
          if (softmax) {
            for (size_t i = 0; i < weights.size(); ++i)
              if ((weights[i] > 0) != expected.allowed[i])
                FAIL_CHECK("query " << i / static_cast<size_t>(n) << ", key " << i % static_cast<size_t>(n));
          } else {
            check_support(m.rule.normaliser, type, n, scores.to_vector(), weights, expected);
          }
          for (int64_t i = 0; i < n; ++i) {
            const double sum = std::accumulate(weights.begin() + i * n, weights.begin() + (i + 1) * n, 0.0);
            CHECK(std::abs(sum - 1) <= (type == DType::f64 ? 4e-15 : 1e-6));
          }
          const auto k = static_cast<double>(top_k_count(m.rule.sparsity, n) * n);
          if (m.rule.key_dropout.p == 0 && softmax &&
              (m.rule.selection == Selection::top_k_row || m.rule.selection == Selection::bottom_k))
            CHECK(stats.kept.item() == k);
          if (m.rule.selection == Selection::top_k_ties && !m.rule.keep_first) {
            CHECK(stats.kept.item() >= k);
            if (!ties) CHECK(stats.kept.item() == k);
          }
        }
      }
    }
  }
}

TEST_CASE("the k-th score is found in rows of all kinds, however much they differ", "[isa]") {
  // An emulated GPU with checks takes too long for more; that it keeps the CPU's keys of long rows has tests of its
  // own.
  const std::vector<int64_t> lengths =
      test_device() == Device::cpu ? std::vector<int64_t>{17, 32, 49, 64, 100, 257} : std::vector<int64_t>{49, 100};
  const double spreads[] = {1e-3, 0.1, 1, 5, 0}, centres[] = {-50, 0, 40, 3};
  for (const DType type : {DType::f32, DType::f64}) {
    for (const int64_t n : lengths) {
      const auto size = static_cast<size_t>(n);
      std::vector<double> scores = numbers({n, n}, static_cast<uint64_t>(n), type).to_vector();
      for (size_t i = 0; i < size; ++i) {
        for (size_t j = 0; j < size; ++j) {
          double& x = scores[i * size + j];
          if (i % 7 == 3) x = std::round(4 * x) / 4;                                 // ties
          if (i % 7 == 4) x *= std::abs(x) / 2;                                      // long tails
          if (i % 7 == 5) x = x / 64 + (j % 3 == 0 ? 4 : -4);                        // two heaps, nothing between
          if (i % 7 == 6) x = (j % 2 == 0 ? 0.02 : -0.02) * static_cast<double>(j);  // evenly
          x = centres[i / 3 % 4] + spreads[i / 5 % 5] * x;
        }
      }
      const Tensor rows = tensor_of(scores, {n, n}, type);
      const std::vector<double> rounded = rows.to_vector();
      for (const double sparsity : {0.2, 0.8, 0.95}) {
        const auto k = static_cast<size_t>(top_k_count(sparsity, n));
        for (const Selection selection : {Selection::top_k_row, Selection::top_k_ties, Selection::bottom_k}) {
          INFO(name_of(type) << ", " << n << " keys, sparsity " << sparsity << ", selection "
                             << static_cast<int>(selection));
          const auto weights = weights_of(rows, {.heads = 1, .selection = selection, .sparsity = sparsity});
          const double sign = selection == Selection::bottom_k ? -1 : 1;
          for (size_t i = 0; i < size; ++i) {
            const double* x = rounded.data() + i * size;
            std::vector<size_t> order(size);
            std::iota(order.begin(), order.end(), size_t{0});
            std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sign * x[a] > sign * x[b]; });
            std::vector<bool> expected(size);
            for (size_t t = 0; t < size; ++t)
              expected[order[t]] = t < k || (selection == Selection::top_k_ties && x[order[t]] == x[order[k - 1]]);
            for (size_t j = 0; j < size; ++j)
              if ((weights[i * size + j] > 0) != expected[j]) FAIL_CHECK("query " << i << ", key " << j);
          }
        }
      }
    }
  }
}

TEST_CASE("sparsity 0 is dense attention bit for bit, for every selection by sparsity") {
  const Tensor offsets = i32({0, 1, 6, 23, 60});
  for (const DType type : {DType::f32, DType::f64}) {
    const Tensor q = input({60, 24}, 1, type), k = input({60, 24}, 2, type), v = input({60, 24}, 3, type);
    const auto run = [&](Selection selection, double drop_p) {
      for (const Tensor& t : {q, k, v}) t.clear_grad();
      AttentionRule rule{.heads = 4, .scale = 0.4, .selection = selection};
      rule.dropout = {0.1, {.seed = 9, .stream = Stream::dropout}};
      rule.drop_p = drop_p;
      rule.drop_key = mask_key;
      rule.keep_first = drop_p > 0;  // protection means nothing where all are kept
      if (selection == Selection::drop_top && drop_p == 0) rule.sparsity = 0.5;
      Tape tape;
      const Tensor out = attention(tape, q, k, v, {offsets, offsets}, rule);
      tape.backward(sum(tape, mul(tape, out, numbers({60, 24}, 4, type))));
      return std::vector<Tensor>{out.detach().clone(), q.grad().clone(), k.grad().clone(), v.grad().clone()};
    };
    const std::vector<Tensor> dense = run(Selection::all, 0);
    for (const Selection selection : {Selection::top_k_row, Selection::top_k_ties, Selection::percentile_head,
                                      Selection::bottom_k, Selection::drop_top}) {
      for (const double drop_p : {0.0, 0.6}) {
        const std::vector<Tensor> sparse = run(selection, drop_p);
        for (size_t i = 0; i < dense.size(); ++i) CHECK(same_bits(sparse[i], dense[i]));
      }
    }
  }
}

TEST_CASE("a sequence's attention does not depend on its neighbours, bit for bit, where nothing is drawn") {
  const std::vector<std::vector<int32_t>> orders{{5, 17, 1, 30}, {30, 17, 5, 1}, {1, 5, 30, 17}};
  const auto rows = [](int32_t n, uint64_t part) {
    return numbers({n, 24}, 10 * static_cast<uint64_t>(n) + part, DType::f32);
  };
  const auto run = [&](const std::vector<int32_t>& lengths, const AttentionRule& rule) {
    std::vector<Tensor> parts[3];
    for (const int32_t n : lengths)
      for (uint64_t part = 0; part < 3; ++part) parts[part].push_back(rows(n, part));
    Tape tape(Tape::Mode::inference);
    const Tensor offsets = offsets_of(lengths);
    const Tensor out = attention(tape, concat(tape, parts[0], 0), concat(tape, parts[1], 0), concat(tape, parts[2], 0),
                                 {offsets, offsets}, rule);
    std::vector<Tensor> results(31);
    int64_t begin = 0;
    for (size_t s = 0; s < lengths.size(); ++s) {
      results[static_cast<size_t>(lengths[s])] = out.detach().view_rows(begin, lengths[s]).clone();
      begin += lengths[s];
    }
    return results;
  };
  const auto expected_members = members(3, DType::f32, orders[0]);
  for (size_t o = 1; o < orders.size(); ++o) {
    const auto other_members = members(3, DType::f32, orders[o]);
    for (size_t m = 0; m < expected_members.size(); ++m) {
      if (expected_members[m].draws) continue;
      INFO(expected_members[m].name);
      const auto expected = run(orders[0], expected_members[m].rule), actual = run(orders[o], other_members[m].rule);
      for (const int32_t n : orders[0])
        CHECK(same_bits(actual[static_cast<size_t>(n)], expected[static_cast<size_t>(n)]));
    }
  }
}

TEST_CASE("a score that is not a number shows up, whatever is removed by rank or by chance", "[isa]") {
  const int64_t n = 21, bad = 4;
  for (const DType type : {DType::f32, DType::f64}) {
    for (const Member& m : members(1, type, {static_cast<int32_t>(n)})) {
      INFO(m.name << ", " << name_of(type));
      // One broken key, as every query sees it.
      std::vector<double> values = numbers({n, n}, 3, type).to_vector();
      for (int64_t i = 0; i < n; ++i) values[static_cast<size_t>(i * n + bad)] = std::nan("");
      const auto weights = weights_of(tensor_of(values, {n, n}, type), m.rule);
      const bool reaches = m.rule.span && m.rule.span.to_vector()[0] > static_cast<double>(n);
      for (int64_t i = 0; i < n; ++i) {
        const auto row = weights.begin() + i * n;
        const bool broken = std::any_of(row, row + n, [](double w) { return std::isnan(w); });
        // A key that is not on the list, beyond the span or behind protected ones does no harm.
        if (m.rule.selection == Selection::listed || (m.rule.span && !reaches) || m.rule.keep_first) continue;
        CHECK(broken);
      }
      // A broken query: all of its scores.
      std::vector<double> whole = numbers({n, n}, 3, type).to_vector();
      for (int64_t j = 0; j < n; ++j) whole[static_cast<size_t>(bad * n + j)] = std::nan("");
      const auto of_query = weights_of(tensor_of(whole, {n, n}, type), m.rule);
      for (int64_t i = 0; i < n; ++i) {
        const auto row = of_query.begin() + i * n;
        const bool broken = std::any_of(row, row + n, [](double w) { return std::isnan(w); });
        if (m.rule.selection == Selection::percentile_head && i != bad) continue;  // the quantile sees all rows
        CHECK(broken == (i == bad));
      }
    }
  }
}

TEST_CASE("a span that is not a number shows up, in its head alone") {
  AttentionRule rule{.heads = 2, .scale = 1};
  rule.span = vec({std::nan(""), 1.0}).set_requires_grad();
  rule.span_ramp = 2;
  const Tensor q = input({6, 4}, 1, DType::f64), offsets = i32({0, 6});
  Tape tape;
  const auto out = attention(tape, q, q, q, {offsets, offsets}, rule).to_vector();
  for (size_t i = 0; i < out.size(); ++i) CHECK(std::isnan(out[i]) == (i % 4 < 2));
}

TEST_CASE("sparsemax and 1.5-entmax: a NaN survives the backward pass, and an infinity gives one") {
  for (const Normaliser n : {Normaliser::sparsemax, Normaliser::entmax15}) {
    AttentionRule rule{.heads = 1, .scale = 1, .normaliser = n};
    for (const double bad : {std::nan(""), infinity}) {
      const Tensor q = vec({1, 2, bad}).view({3, 1}).clone().set_requires_grad(), k = input({3, 1}, 2, DType::f64);
      Tape tape;
      const Tensor offsets = i32({0, 3});
      const Tensor out = attention(tape, q, k, k, {offsets, offsets}, rule);
      CHECK(std::isnan(out.to_vector()[2]));
      CHECK(std::isfinite(out.to_vector()[0]));
      tape.backward(sum(tape, out));
      CHECK(std::isnan(q.grad().to_vector()[2]));
    }
    // A key with a score of -infinity takes no part: its value is not read.
    Tape tape(Tape::Mode::inference);
    const Tensor k = vec({-infinity, 0, 0.5}).view({3, 1}), v = vec({infinity, 1, 2}).view({3, 1});
    const double result = attention(tape, full({1, 1}, DType::f64, 1), k, v, {i32({0, 1}), i32({0, 3})}, rule).item();
    // Thresholds -1/4 and 1/8 - sqrt(31/64).
    CHECK(result == Approx(n == Normaliser::sparsemax ? 1.75 : 1.5 + 0.25 * std::sqrt(31 / 64.0)).epsilon(1e-14));
  }
}

TEST_CASE("key dropout and drop_top remove as often as they should, again and again the same", "[isa]") {
  const int64_t n = 60, repeats = 12;
  const Tensor scores = numbers({n, n}, 8);
  const auto kept_of = [&](AttentionRule rule, uint32_t step, auto count) {
    rule.key_dropout.key.step = rule.drop_key.step = step;
    const auto weights = weights_of(scores, rule), again = weights_of(scores, rule);
    CHECK(weights == again);
    double sum = 0;
    for (size_t i = 0; i < weights.size(); ++i) sum += count(i) && weights[i] > 0;
    return sum;
  };
  const auto everything = [](size_t) { return true; };
  SECTION("entries") {
    AttentionRule rule{.heads = 1};
    rule.key_dropout = {0.3, mask_key, false};
    double kept = 0;
    for (uint32_t step = 0; step < repeats; ++step) kept += kept_of(rule, step, everything);
    const double pairs = static_cast<double>(repeats * n * n), deviation = std::sqrt(pairs * 0.3 * 0.7);
    CHECK(std::abs(kept - 0.7 * pairs) < 4 * deviation);
    CHECK(kept_of(rule, 0, everything) != kept_of(rule, 1, everything));
  }
  SECTION("columns") {
    AttentionRule rule{.heads = 1};
    rule.key_dropout = {0.3, mask_key, true};
    double kept = 0;
    for (uint32_t step = 0; step < repeats; ++step) {
      rule.key_dropout.key.step = step;
      const auto weights = weights_of(scores, rule);
      for (size_t j = 0; j < static_cast<size_t>(n); ++j) {
        const bool here = weights[j] > 0;
        kept += here;
        for (size_t i = 1; i < static_cast<size_t>(n); ++i)
          REQUIRE((weights[i * static_cast<size_t>(n) + j] > 0) == here);
      }
    }
    const double columns = static_cast<double>(repeats * n), deviation = std::sqrt(columns * 0.3 * 0.7);
    CHECK(std::abs(kept - 0.7 * columns) < 4 * deviation);
  }
  SECTION("the largest scores only") {
    AttentionRule rule{.heads = 1, .selection = Selection::drop_top, .sparsity = 0.8};
    rule.drop_p = 0.4;
    rule.drop_key = mask_key;
    AttentionRule lowest = rule;  // the k smallest are never removed
    lowest.selection = Selection::bottom_k;
    const auto safe = weights_of(scores, lowest);
    double kept_safe = 0, kept_top = 0;
    for (uint32_t step = 0; step < repeats; ++step) {
      kept_safe += kept_of(rule, step, [&](size_t i) { return safe[i] > 0; });
      kept_top += kept_of(rule, step, [&](size_t i) { return safe[i] == 0; });
    }
    CHECK(kept_safe == static_cast<double>(repeats * n * 12));
    const double top = static_cast<double>(repeats * n * 48), deviation = std::sqrt(top * 0.4 * 0.6);
    CHECK(std::abs(kept_top - 0.6 * top) < 4 * deviation);
  }
}

TEST_CASE("attention refuses rules that make no sense, in words") {
  const Tensor q = input({3, 4}, 1, DType::f64), offsets = i32({0, 1, 3});
  const auto says = [&](const std::string& part, auto change) {
    AttentionRule rule{.heads = 2};
    change(rule);
    Tape tape;
    const std::string message = error_of([&] { attention(tape, q, q, q, {offsets, offsets}, rule); });
    INFO(message);
    CHECK(contains(message, part));
  };
  says("drop_p 1.5 is outside [0, 1]", [](auto& r) { r.drop_p = 1.5; });
  says("the threshold is not a number", [](auto& r) { r.threshold = std::nan(""); });
  says("key dropout must lie in [0, 1)", [](auto& r) { r.key_dropout.p = 1; });
  says("span must be [heads]", [](auto& r) { r.span = vec({1, 2, 3}), r.span_ramp = 1; });
  says("span_ramp must be a positive number", [](auto& r) { r.span = vec({1, 2}); });
  says("a span goes with Selection::all and softmax only", [](auto& r) {
    r.span = vec({1, 2});
    r.span_ramp = 1;
    r.normaliser = Normaliser::sparsemax;
  });
  const auto lists = [&](const std::string& part, const std::vector<int32_t>& starts,
                         const std::vector<int32_t>& keys) {
    const std::string message = error_of([&] { ListedKeys(Segments(offsets, offsets), 2, starts, keys); });
    INFO(message);
    CHECK(contains(message, part));
  };
  says("Selection::listed needs lists", [](auto& r) { r.selection = Selection::listed; });
  lists("one more than queries are needed, 4, or than queries of heads, 7", {0, 1, 2}, {0, 0});
  lists("must run from 0 to 4", {0, 1, 2, 3}, {0, 0, 1, 0});
  lists("list 1 is empty", {0, 1, 1, 3}, {0, 0, 1});
  lists("list 0 is empty", {0, -1, 1, 3}, {0, 0, 1});
  lists("list 0 ends at 60, but there are 3 keys", {0, 60, 60, 3}, {0, 1, 2});
  lists("list 0 has key 1 in a sequence of 1 keys", {0, 1, 2, 3}, {1, 0, 1});
  lists("list 2 has key -1", {0, 1, 2, 3}, {0, 0, -1});
  lists("list 2: keys must increase, but 0 follows 1", {0, 1, 2, 4}, {0, 0, 1, 0});
  lists("list 5: keys must increase, but 1 follows 1", {0, 1, 2, 3, 4, 5, 7}, {0, 0, 1, 0, 0, 1, 1});
}
