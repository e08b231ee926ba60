// The weights that attention() uses, for inspection.
#include <cmath>
#include <vector>

#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// 2 heads of 3; sequences of 5, 1 and 7 keys: more than a head is wide.
struct Case {
  static constexpr int64_t heads = 2, head_dim = 3, rows = 13;
  std::vector<int32_t> offsets{0, 5, 6, 13};
  Segments segments = on(test_device(), Segments(offsets));
  Tensor q = Tensor::normal({rows, heads* head_dim}, DType::f64, {.seed = 1}, 0, 2, test_device());
  Tensor k = Tensor::normal({rows, heads* head_dim}, DType::f64, {.seed = 2}, 0, 2, test_device());
  Tensor v = Tensor::normal({rows, heads* head_dim}, DType::f64, {.seed = 3}, 0, 1, test_device());
};

TEST_CASE("attention's weights are those that the values are multiplied with") {
  const Case c;
  for (const Normaliser normaliser : {Normaliser::softmax, Normaliser::sparsemax, Normaliser::entmax15})
    for (const Selection selection : {Selection::all, Selection::top_k_row, Selection::percentile_head}) {
      const AttentionRule rule{
          .heads = c.heads, .scale = 0.5, .selection = selection, .sparsity = 0.6, .normaliser = normaliser};
      const Tensor weights = attention_weights(Context::standard(), c.q, c.k, c.segments, rule);
      REQUIRE(weights.shape() == Shape({c.rows, c.heads, 7}));
      Tape tape(Tape::Mode::inference);
      const std::vector<double> out = attention(tape, c.q, c.k, c.v, c.segments, rule).to_vector();
      const std::vector<double> w = weights.to_vector(), v = c.v.to_vector();
      for (size_t s = 0; s + 1 < c.offsets.size(); ++s) {
        const auto begin = static_cast<size_t>(c.offsets[s]), end = static_cast<size_t>(c.offsets[s + 1]);
        const auto kept_of_row = static_cast<int>(top_k_count(0.6, static_cast<int64_t>(end - begin)));
        for (size_t i = begin; i < end; ++i)
          for (size_t h = 0; h < 2; ++h) {
            const double* row = &w[(i * 2 + h) * 7];
            double sum = 0;
            int kept = 0;
            for (size_t j = 0; j < 7; ++j) sum += row[j], kept += row[j] != 0;
            CHECK(sum == Approx(1).epsilon(1e-14));
            for (size_t j = end - begin; j < 7; ++j) CHECK(row[j] == 0);
            if (normaliser == Normaliser::softmax && selection == Selection::all)
              CHECK(kept == static_cast<int>(end - begin));
            if (normaliser == Normaliser::softmax && selection == Selection::top_k_row) CHECK(kept == kept_of_row);
            for (size_t d = 0; d < 3; ++d) {
              double expected = 0;
              for (size_t j = begin; j < end; ++j) expected += row[j - begin] * v[j * 6 + h * 3 + d];
              CHECK(out[i * 6 + h * 3 + d] == Approx(expected).epsilon(1e-12).margin(1e-14));
            }
          }
      }
    }
}

TEST_CASE("attention's weights of listed keys, of few queries, and in f32") {
  const Case c;
  // The first row of each sequence as a query; keys 1 and 3 of the first, 0 of the second, 0 and 6 of the third.
  const std::vector<int32_t> q_offsets{0, 1, 2, 3}, starts{0, 2, 3, 5}, keys{1, 3, 0, 0, 6};
  const Segments first(q_offsets, c.offsets);
  const ListedKeys lists(first, 1, starts, keys);
  upload(test_device(), first, lists);
  const AttentionRule rule{.heads = c.heads, .selection = Selection::listed, .lists = lists, .dropout = {0.5, {}}};
  const std::vector<double> w =
      attention_weights(Context::standard(), c.q.view_rows(0, 3), c.k, first, rule).to_vector();
  REQUIRE(w.size() == 3 * 2 * 7);
  const auto kept = [&](size_t row) {
    std::vector<size_t> positions;
    for (size_t j = 0; j < 7; ++j)
      if (w[row * 7 + j] != 0) positions.push_back(j);
    return positions;
  };
  for (size_t h = 0; h < 2; ++h) {
    CHECK(kept(h) == std::vector<size_t>{1, 3});
    CHECK(kept(2 + h) == std::vector<size_t>{0});
    CHECK(w[(2 + h) * 7] == 1);  // dropout has no part in it
    CHECK(kept(4 + h) == std::vector<size_t>{0, 6});
  }
  const AttentionRule dense{.heads = c.heads};
  const Tensor single =
      attention_weights(Context::standard(), c.q.to(DType::f32), c.k.to(DType::f32), c.segments, dense);
  CHECK(single.dtype() == DType::f32);
  CHECK(relative_error(single.to_vector(),
                       attention_weights(Context::standard(), c.q, c.k, c.segments, dense).to_vector()) < 1e-6);
}

}  // namespace
