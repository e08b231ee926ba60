// Numbers that are not finite, and sequences without queries: what must neither spread nor be read nor get lost.
#include <limits>

#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
const double nan_value = std::numeric_limits<double>::quiet_NaN();

// x with f(element, value) in place of each value.
template <class F>
Tensor changed(const Tensor& x, F f) {
  std::vector<double> values = x.to_vector();
  for (size_t i = 0; i < values.size(); ++i) values[i] = f(i, values[i]);
  return tensor_of(values, x.shape(), x.dtype());
}

const Dropout half{0.5, {.seed = 4, .stream = Stream::dropout, .site = 1}};
bool dropped(size_t element) { return !keeps(random_word(half.key, element), half.p); }

enum Class { finite, plus_infinity, minus_infinity, nan_class };
Class class_of(double x) {
  return std::isnan(x) ? nan_class : !std::isinf(x) ? finite : x > 0 ? plus_infinity : minus_infinity;
}
std::vector<Class> classes_of(const std::vector<double>& values) {
  std::vector<Class> all;
  for (const double x : values) all.push_back(class_of(x));
  return all;
}

}  // namespace

TEST_CASE("a dropped infinity adds nothing to the residual", "[isa]") {
  for (const DType type : {DType::f32, DType::f64}) {
    for (const double bad : {inf, -inf, nan_value}) {
      const Tensor x = input({7, 45}, 1, type), w = input({45}, 2, type, 1), b = input({45}, 3, type);
      const Tensor r = numbers({7, 45}, 4, type);
      const auto with = [&](double instead) {
        Tape t(Tape::Mode::inference);
        return residual_layer_norm(t, x, changed(r, [&](size_t i, double v) { return dropped(i) ? instead : v; }), half,
                                   w, b, 1e-12);
      };
      const Tensor y = with(bad);
      CHECK(all_finite(y));
      CHECK(same_bits(y, with(0)));
    }
  }
}

TEST_CASE("backwards, nothing passes through a dropped element of the residual", "[isa]") {
  for (const DType type : {DType::f32, DType::f64}) {
    const Tensor x = input({7, 45}, 1, type), w = input({45}, 2, type, 1), b = input({45}, 3, type);
    const Tensor r = input({7, 45}, 4, type);
    // An infinite gradient in row 2, which makes that of all of the row's elements before LayerNorm NaN.
    const Tensor factors =
        changed(numbers({7, 45}, 5, type), [](size_t i, double v) { return i == 2 * 45 + 9 ? inf : v; });
    for (int pass = 1; pass <= 2; ++pass) {  // the second one adds
      Tape t;
      t.backward(sum(t, mul(t, residual_layer_norm(t, x, r, half, w, b, 1e-12), factors)));
      const std::vector<double> dr = r.grad().to_vector(), dx = x.grad().to_vector();
      for (size_t i = 0; i < dr.size(); ++i) {
        INFO("element " << i << ", pass " << pass);
        if (dropped(i)) CHECK(dr[i] == 0);
        if (!dropped(i)) CHECK(std::isfinite(dr[i]) == (i / 45 != 2));
        CHECK(std::isfinite(dx[i]) == (i / 45 != 2));
      }
    }
  }
}

TEST_CASE("dropout after LayerNorm hides what is not finite, both ways", "[isa]") {
  for (const DType type : {DType::f32, DType::f64}) {
    for (const double bad : {inf, nan_value}) {
      const Tensor ids = i32({0, 1, 2, 1, 3}), positions_of = i32({0, 1, 2, 0, 1});
      const auto run = [&](const Tensor& words, const Tensor& factors) {
        const Tensor positions = input({3, 45}, 2, type), w = input({45}, 3, type, 1), b = input({45}, 4, type);
        std::vector<Tensor> results;
        for (int pass = 0; pass < 2; ++pass) {  // the second one adds to the gradients
          Tape t;
          const Tensor y = embeddings_layer_norm(t, words, positions, ids, positions_of, w, b, 1e-12, half);
          t.backward(sum(t, mul(t, y, factors)));
          results.push_back(y);
        }
        for (const Tensor& x : {words, positions, w, b}) results.push_back(x.grad().clone());
        return results;
      };
      const Tensor words = input({4, 45}, 1, type), factors = numbers({5, 45}, 5, type);
      // A row of the table with something that is not finite: all of it is NaN after LayerNorm, but 0 where dropped.
      Tape t(Tape::Mode::inference);
      const Tensor broken = changed(words, [&](size_t i, double v) { return i == 2 * 45 + 3 ? bad : v; });
      const Tensor y = embeddings_layer_norm(t, broken, input({3, 45}, 2, type), ids, positions_of,
                                             input({45}, 3, type, 1), input({45}, 4, type), 1e-12, half);
      const std::vector<double> values = y.to_vector();
      for (size_t i = 0; i < values.size(); ++i) {
        INFO("element " << i);
        if (dropped(i)) CHECK(values[i] == 0);
        if (!dropped(i)) CHECK(std::isnan(values[i]) == (i / 45 == 2));
      }
      // Gradients at dropped elements do not matter, whatever they are.
      const auto with = [&](double instead) {
        words.clear_grad();
        return run(words, changed(factors, [&](size_t i, double v) { return dropped(i) ? instead : v; }));
      };
      const std::vector<Tensor> actual = with(bad), expected = with(0);
      for (size_t i = 0; i < expected.size(); ++i) {
        INFO("result " << i);
        CHECK(all_finite(actual[i]));
        CHECK(same_bits(actual[i], expected[i]));
      }
    }
  }
}

TEST_CASE("GELU of NaN and infinities is that of the formula", "[isa]") {
  const double special[] = {nan_value, inf, -inf, 1e30, -1e30, 0, 3, -3, -300};
  std::vector<double> values;  // every kind at every place of a vector, and in the rest behind the last one
  for (size_t i = 0; i < 9 * 17; ++i) values.push_back(special[i % 9]);
  std::vector<double> expected, slopes;
  for (const double x : values) {
    const double cdf = 0.5 * std::erfc(-x / std::sqrt(2.0));
    expected.push_back(x * cdf);  // NaN for -infinity: infinity times 0
    slopes.push_back(cdf + x * std::exp(-0.5 * x * x));
  }
  for (const DType type : {DType::f32, DType::f64}) {
    INFO(name_of(type));
    const Tensor x = vec(values, type).set_requires_grad();
    Tape t;
    const Tensor y = gelu(t, x);
    CHECK(classes_of(y.to_vector()) == classes_of(expected));
    t.backward(sum(t, y));
    CHECK(classes_of(x.grad().to_vector()) == classes_of(slopes));
    // Behind a product: x times a weight of 1.
    const Tensor one = full({1, 1}, type, 1);
    Tape other(Tape::Mode::inference);
    const Tensor column = linear(other, x.detach().view({153, 1}), one, {}, Activation::gelu);
    CHECK(classes_of(column.to_vector()) == classes_of(expected));
    const Tensor bias = vec(values, type);
    const Tensor row = linear(other, zeros({1, 1}, type), full({153, 1}, type, 1), bias, Activation::gelu);
    CHECK(classes_of(row.to_vector()) == classes_of(expected));
  }
}

TEST_CASE("sequences without queries take no part in attention", "[isa]") {
  // Keys of 3 sequences, but only the second one has queries; the last block of weights is empty, too.
  const Tensor q_offsets = i32({0, 0, 2, 2}), kv_offsets = i32({0, 3, 8, 10});
  const Tensor alone_q = i32({0, 2}), alone_kv = i32({0, 5});
  for (const DType type : {DType::f32, DType::f64}) {
    for (const Selection selection : {Selection::all, Selection::top_k_row, Selection::percentile_head}) {
      INFO(name_of(type) << ", selection " << static_cast<int>(selection));
      const AttentionRule rule{.heads = 2, .scale = 0.5, .selection = selection, .sparsity = 0.6, .dropout = {}};
      const Tensor q = input({2, 16}, 1, type), k = input({10, 16}, 2, type), v = input({10, 16}, 3, type);
      const auto run = [&](const Tensor& keys, const Tensor& values, const Tensor& of_q, const Tensor& of_kv,
                           AttentionStats& stats) {
        q.clear_grad();
        Tape t;
        const Tensor y = attention(t, q, keys, values, {of_q, of_kv}, rule, &stats);
        t.backward(sum(t, mul(t, y, numbers(y.shape(), 7, type))));
        return std::vector<Tensor>{y.detach().clone(), q.grad().clone(), keys.grad().clone(), values.grad().clone()};
      };
      AttentionStats stats, of_one;
      const auto all = run(k, v, q_offsets, kv_offsets, stats);
      const auto one = run(k.detach().view_rows(3, 5).clone().set_requires_grad(),
                           v.detach().view_rows(3, 5).clone().set_requires_grad(), alone_q, alone_kv, of_one);
      CHECK(same_bits(all[0], one[0]));
      CHECK(same_bits(all[1], one[1]));
      for (const size_t i : {size_t{2}, size_t{3}}) {
        CHECK(same_bits(all[i].view_rows(3, 5), one[i]));
        for (const auto& [first, count] : {std::pair{0, 3}, {8, 2}})
          for (const double x : all[i].view_rows(first, count).to_vector()) CHECK(x == 0);
      }
      CHECK(stats.kept.to_vector() == of_one.kept.to_vector());
      CHECK(stats.pairs == 10);
      CHECK(stats.entropy.to_vector() == of_one.entropy.to_vector());
    }
  }
}

TEST_CASE("attention refuses one tensor as queries and keys under different offsets") {
  const Tensor x = input({6, 4}, 1, DType::f64), y = input({6, 4}, 2, DType::f64);
  const Tensor some = i32({0, 2, 6}), others = i32({0, 3, 6});
  const AttentionRule rule{.heads = 2, .dropout = {}};
  Tape t;
  for (const auto& kv : {std::pair{x, y}, {y, x}, {x, x}}) {
    const std::string message = error_of([&] { attention(t, x, kv.first, kv.second, {some, others}, rule); });
    INFO(message);
    CHECK(contains(
        message, "attention: where one tensor is queries and keys or values, q_offsets and kv_offsets must be equal"));
    CHECK_NOTHROW(attention(t, x, kv.first, kv.second, {some, i32({0, 2, 6})}, rule));
  }
  CHECK_NOTHROW(attention(t, x, y, y, {some, others}, rule));
}
