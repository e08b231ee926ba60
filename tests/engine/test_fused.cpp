// The fused operations against compositions of plain ones, values and gradients.
#include <algorithm>
#include <array>

#include "tests/engine/attention_members.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

using Function = std::function<Tensor(Tape&, std::span<const Tensor>)>;

// Both functions on the same inputs, contracted with the same weights: results and gradients agree.
void same_function(const Function& fused, const Function& plain, const std::vector<Tensor>& inputs, double tolerance) {
  const auto run = [&](const Function& f) {
    for (const Tensor& t : inputs) t.clear_grad();
    Tape tape;
    const Tensor out = f(tape, inputs);
    tape.backward(sum(tape, mul(tape, out, numbers(out.shape(), 77, out.dtype()))));
    std::vector<std::vector<double>> results{out.to_vector()};
    for (const Tensor& t : inputs)
      if (t.requires_grad()) results.push_back(t.grad().to_vector());
    return results;
  };
  const auto a = run(fused), b = run(plain);
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    INFO((i == 0 ? "value" : "gradient ") << i);
    CHECK(relative_error(a[i], b[i]) < tolerance);
  }
}

Tensor plain_layer_norm(Tape& t, const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  const Shape column{x.dim(0), 1};
  const Tensor centred = sub(t, x, reshape(t, mean(t, x, -1), column));
  const Tensor variance = reshape(t, mean(t, mul(t, centred, centred), -1), column);
  const Tensor deviation = sqrt(t, add(t, variance, scalar(epsilon, x.dtype())));
  return add(t, mul(t, div(t, centred, deviation), weight), bias);
}

// Which keys a query keeps, from one head's scores [n_q, n_k], by sorting.
std::vector<bool> selected(const std::vector<double>& scores, size_t n_q, size_t n_k, Selection rule, double sparsity) {
  std::vector<bool> keep(n_q * n_k, rule == Selection::all || sparsity == 0);
  if (rule == Selection::all || sparsity == 0 || n_q == 0) return keep;
  double threshold = 0;
  if (rule == Selection::percentile_head) {
    std::vector<double> sorted = scores;
    std::sort(sorted.begin(), sorted.end());
    const double at = sparsity * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<size_t>(at);
    const double next = sorted[std::min(below + 1, sorted.size() - 1)];
    threshold = sorted[below] + (at - static_cast<double>(below)) * (next - sorted[below]);
  }
  for (size_t q = 0; q < n_q; ++q) {
    std::vector<size_t> order(n_k);
    for (size_t k = 0; k < n_k; ++k) order[k] = k;
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t i, size_t j) { return scores[q * n_k + i] > scores[q * n_k + j]; });
    if (rule == Selection::top_k_row) {
      // floor((1 - s) n + 1/2) in integers, the sparsity in thousandths.
      const auto thousandths = static_cast<size_t>(std::lround(1000 * sparsity));
      const size_t k = std::max<size_t>(1, (2 * (1000 - thousandths) * n_k + 1000) / 2000);
      for (size_t i = 0; i < k; ++i) keep[q * n_k + order[i]] = true;
    } else {
      for (size_t k = 0; k < n_k; ++k) keep[q * n_k + k] = scores[q * n_k + k] >= threshold;
      keep[q * n_k + order[0]] = true;
    }
  }
  return keep;
}

// Attention sequence by sequence and head by head, from slices, products and a softmax over masked scores.
Tensor plain_attention(Tape& t, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                       const Tensor& kv_offsets, const AttentionRule& rule, double* kept = nullptr) {
  const int64_t width = q.dim(1) / rule.heads;
  std::vector<Tensor> sequences;
  uint64_t weight_index = 0;
  const std::vector<int32_t> of_queries = i32_values(q_offsets), of_keys = i32_values(kv_offsets);
  for (size_t s = 0; s + 1 < of_queries.size(); ++s) {
    const int32_t *qo = of_queries.data() + s, *ko = of_keys.data() + s;
    const int64_t n_q = qo[1] - qo[0], n_k = ko[1] - ko[0];
    std::vector<Tensor> heads;
    for (int64_t h = 0; h < rule.heads; ++h) {
      const auto head = [&](const Tensor& x, int64_t from, int64_t n) {
        return slice(t, slice(t, x, 0, from, n), 1, h * width, width);
      };
      const Tensor scores = scale(t, matmul(t, head(q, qo[0], n_q), head(k, ko[0], n_k), false, true), rule.scale);
      const auto keep = selected(scores.to_vector(), static_cast<size_t>(n_q), static_cast<size_t>(n_k), rule.selection,
                                 rule.sparsity);
      std::vector<double> mask(keep.size()), dropped(keep.size());
      for (size_t i = 0; i < keep.size(); ++i) {
        mask[i] = keep[i] ? 0 : -1e30;
        if (kept) *kept += keep[i];
        // By key, or by place where at most half of the row are kept.
        const size_t n = static_cast<size_t>(n_k), row = i / n * n;
        const auto before = [&](size_t end) {
          return static_cast<size_t>(std::count(keep.begin() + static_cast<std::ptrdiff_t>(row),
                                                keep.begin() + static_cast<std::ptrdiff_t>(end), true));
        };
        const size_t element = 2 * before(row + n) > n ? i : row + before(i);
        const bool stays = keeps(random_word(rule.dropout.key, weight_index + element), rule.dropout.p);
        dropped[i] = stays ? 1 / (1 - rule.dropout.p) : 0;
      }
      weight_index += keep.size();
      const auto constant = [&](const std::vector<double>& values) { return vec(values, q.dtype()).view({n_q, n_k}); };
      const Tensor weights = mul(t, softmax(t, add(t, scores, constant(mask))), constant(dropped));
      heads.push_back(matmul(t, weights, head(v, ko[0], n_k)));
    }
    sequences.push_back(concat(t, heads, 1));
  }
  return concat(t, sequences, 0);
}

}  // namespace

TEST_CASE("linear equals matmul, add and gelu", "[isa]") {
  for (const auto& [type, tolerance] : {std::pair{DType::f64, 1e-14}, {DType::f32, 2e-6}}) {
    for (const auto activation : {Activation::none, Activation::gelu}) {
      same_function([=](Tape& t, auto in) { return linear(t, in[0], in[1], in[2], activation); },
                    [=](Tape& t, auto in) {
                      const Tensor y = add(t, matmul(t, in[0], in[1], false, true), in[2]);
                      return activation == Activation::gelu ? gelu(t, y) : y;
                    },
                    {input({300, 70}, 1, type), input({90, 70}, 2, type), input({90}, 3, type)}, tolerance);
    }
  }
}

TEST_CASE("feed_forward equals two calls of linear", "[isa]") {
  for (const auto& [type, tolerance] : {std::pair{DType::f64, 1e-14}, {DType::f32, 2e-6}}) {
    const Tensor x = input({300, 70}, 1, type), up = input({90, 70}, 2, type), up_bias = input({90}, 3, type),
                 down = input({50, 90}, 4, type), down_bias = input({50}, 5, type);
    const Function fused = [](Tape& t, auto in) { return feed_forward(t, in[0], in[1], in[2], in[3], in[4]); };
    const Function plain = [](Tape& t, auto in) {
      return linear(t, linear(t, in[0], in[1], in[2], Activation::gelu), in[3], in[4]);
    };
    same_function(fused, plain, {x, up, up_bias, down, down_bias}, tolerance);
    // Any of them may be a constant.
    same_function(fused, plain, {x.detach(), up.detach(), up_bias.detach(), down, down_bias}, tolerance);
    same_function(fused, plain, {x.detach(), up, up_bias.detach(), down.detach(), down_bias.detach()}, tolerance);
    same_function(fused, plain, {x, up.detach(), up_bias.detach(), down.detach(), down_bias.detach()}, tolerance);
    same_function([](Tape& t, auto in) { return feed_forward(t, in[0], in[1], {}, in[2], {}); },
                  [](Tape& t, auto in) { return linear(t, linear(t, in[0], in[1], {}, Activation::gelu), in[2], {}); },
                  {x, up, down}, tolerance);
  }
}

TEST_CASE("layer norms equal their compositions", "[isa]") {
  const Dropout drop{0.3, {.seed = 4, .stream = Stream::dropout, .step = 2, .site = 1}};
  for (const auto& [type, tolerance] : {std::pair{DType::f64, 1e-13}, {DType::f32, 3e-6}}) {
    const Tensor x = input({120, 50}, 1, type, 3), r = input({120, 50}, 2, type), w = input({50}, 3, type, 1),
                 b = input({50}, 4, type);
    same_function([](Tape& t, auto in) { return layer_norm(t, in[0], in[1], in[2], 1e-5); },
                  [](Tape& t, auto in) { return plain_layer_norm(t, in[0], in[1], in[2], 1e-5); }, {x, w, b},
                  tolerance);
    same_function([&](Tape& t, auto in) { return residual_layer_norm(t, in[0], in[1], drop, in[2], in[3], 1e-5); },
                  [&](Tape& t, auto in) {
                    return plain_layer_norm(t, add(t, in[0], dropout(t, in[1], drop)), in[2], in[3], 1e-5);
                  },
                  {x, r, w, b}, tolerance);
    std::vector<int32_t> ids, positions;
    for (int i = 0; i < 200; ++i) {
      ids.push_back(i * i % 23);
      positions.push_back(i % 9);
    }
    const Tensor id = i32(ids);
    const Tensor position = i32(positions);
    same_function(
        [&](Tape& t, auto in) {
          return embeddings_layer_norm(t, in[0], in[1], id, position, in[2], in[3], 1e-5, drop);
        },
        [&](Tape& t, auto in) {
          const Tensor z = add(t, embedding(t, in[0], id), embedding(t, in[1], position));
          return dropout(t, plain_layer_norm(t, z, in[2], in[3], 1e-5), drop);
        },
        {input({30, 50}, 5, type), input({10, 50}, 6, type), w, b}, tolerance);
  }
}

TEST_CASE("cross-entropy equals log-softmax and a choice", "[isa]") {
  const Tensor labels = i32({1, 0, 2, 2}), x = input({4, 3}, 1, DType::f64);
  same_function([&](Tape& t, auto in) { return cross_entropy(t, in[0], labels); },
                [&](Tape& t, auto in) {
                  const Tensor flat = reshape(t, log_softmax(t, in[0]), {12, 1});
                  return scale(t, mean(t, embedding(t, flat, i32({1, 3, 8, 11}))), -1);
                },
                {x}, 1e-14);
}

TEST_CASE("attention equals slices, products and a masked softmax", "[isa]") {
  // Products, slices and sums of each head are many launches, which take their time on an emulated GPU.
  const std::vector<double> sparsities =
      test_device() == Device::cpu ? std::vector{0.0, 0.5, 0.8, 0.99} : std::vector{0.0, 0.8};
  const Dropout drop{0.2, {.seed = 6, .stream = Stream::dropout, .step = 1, .site = 3}};
  for (const auto& [type, tolerance] : {std::pair{DType::f64, 1e-13}, {DType::f32, 3e-6}}) {
    const Tensor q_offsets = i32({0, 1, 18, 83}), first = i32({0, 1, 2, 3});
    const Tensor q = input({83, 24}, 1, type), q3 = input({3, 24}, 4, type), k = input({83, 24}, 2, type),
                 v = input({83, 24}, 3, type);
    for (const Selection selection : {Selection::all, Selection::top_k_row, Selection::percentile_head}) {
      for (const Dropout& d : {Dropout{}, drop}) {
        for (const double sparsity : sparsities) {
          const AttentionRule rule{
              .heads = 3, .scale = 0.35, .selection = selection, .sparsity = sparsity, .dropout = d};
          INFO("selection " << static_cast<int>(selection) << " sparsity " << sparsity << " dropout " << d.p);
          same_function(
              [&](Tape& t, auto in) {
                return attention(t, in[0], in[1], in[2], {q_offsets, q_offsets}, rule);
              },
              [&](Tape& t, auto in) { return plain_attention(t, in[0], in[1], in[2], q_offsets, q_offsets, rule); },
              {q, k, v}, tolerance);
          same_function(
              [&](Tape& t, auto in) {
                return attention(t, in[0], in[1], in[2], {first, q_offsets}, rule);
              },
              [&](Tape& t, auto in) { return plain_attention(t, in[0], in[1], in[2], first, q_offsets, rule); },
              {q3, k, v}, tolerance);
        }
      }
    }
  }
}

TEST_CASE("attention over many keys equals its composition, whatever the heads' size", "[isa]") {
  // Lengths 33, 128, 200; without the last on an emulated GPU, which takes too long.
  const bool on_cpu = test_device() == Device::cpu;
  const Tensor offsets = on_cpu ? i32({0, 33, 161, 361}) : i32({0, 33, 161});
  const int64_t rows = on_cpu ? 361 : 161;
  for (const int64_t head_dim : {8, 24, 64}) {
    const int64_t dim = 2 * head_dim;
    for (const auto& [type, tolerance] : {std::pair{DType::f64, 1e-13}, {DType::f32, 5e-6}}) {
      for (const double sparsity : {0.0, 0.8}) {
        INFO("heads of " << head_dim << ", " << name_of(type) << ", sparsity " << sparsity);
        const AttentionRule rule{.heads = 2,
                                 .scale = 1 / std::sqrt(static_cast<double>(head_dim)),
                                 .selection = sparsity > 0 ? Selection::top_k_row : Selection::all,
                                 .sparsity = sparsity,
                                 .dropout = {0.1, {.seed = 8, .stream = Stream::dropout}}};
        same_function(
            [&](Tape& t, auto in) {
              return attention(t, in[0], in[1], in[2], {offsets, offsets}, rule);
            },
            [&](Tape& t, auto in) { return plain_attention(t, in[0], in[1], in[2], offsets, offsets, rule); },
            {input({rows, dim}, 1, type), input({rows, dim}, 2, type), input({rows, dim}, 3, type)}, tolerance);
      }
    }
  }
}

TEST_CASE("top-k keeps what a stable sort says, at any length and with any number of ties", "[isa]") {
  for (const DType type : {DType::f32, DType::f64}) {
    for (const int64_t n : {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 47, 64, 65, 100, 127, 128, 129, 300}) {
      for (const int64_t values : {1, 3, 20, 100000}) {  // few distinct scores: many ties
        // The query sees the first coordinate of each key; the values are unit vectors, so the result is the weights.
        const auto size = static_cast<size_t>(n);
        std::vector<double> scores, query(size), keys(size * size);
        for (int64_t j = 0; j < n; ++j)
          scores.push_back(static_cast<double>((j * 7919 + 13) % values) / static_cast<double>(values) - 0.3);
        if (n > 5 && values == 3) scores[size / 2] = -0.0;
        query[0] = 1;
        for (size_t j = 0; j < size; ++j) keys[j * size] = scores[j];
        const Tensor q = tensor_of(query, {1, n}, type), k = tensor_of(keys, {n, n}, type), v = unit_matrix(n, type);
        for (const double sparsity : {0.3, 0.8, 0.95}) {
          INFO(name_of(type) << ", " << n << " keys, " << values << " distinct scores, sparsity " << sparsity);
          Tape t(Tape::Mode::inference);
          const auto weights =
              attention(
                  t, q, k, v, {i32({0, 1}), i32({0, static_cast<int32_t>(n)})},
                  {.heads = 1, .scale = 1, .selection = Selection::top_k_row, .sparsity = sparsity, .dropout = {}})
                  .to_vector();
          const auto expected = selected(scores, 1, size, Selection::top_k_row, sparsity);
          for (size_t j = 0; j < weights.size(); ++j)
            if ((weights[j] > 0) != expected[j]) FAIL_CHECK("key " << j);
        }
      }
    }
  }
}

TEST_CASE("where nearly every score is NaN, top-k keeps the earliest of them", "[isa]") {
  const int64_t n = 70;
  const Tensor q = full({1, 1}, DType::f32, 1), k = full({n, 1}, DType::f32, std::nan(""));
  Tape t(Tape::Mode::inference);
  AttentionStats stats;
  attention(t, q, k, k, {i32({0, 1}), i32({0, static_cast<int32_t>(n)})},
            {.heads = 1, .scale = 1, .selection = Selection::top_k_row, .sparsity = 0.8, .dropout = {}}, &stats);
  CHECK(stats.kept.item() == 14);
}

TEST_CASE("attention: ties go to the earlier key, and sparsity 0 is dense bit for bit", "[isa]") {
  const Tensor offsets = i32({0, 5});
  const Tensor q = full({5, 2}, DType::f64, 1), k = full({5, 2}, DType::f64, 1);
  const Tensor v = vec({1, 10, 2, 20, 4, 40, 8, 80, 16, 160}).view({5, 2});
  Tape t(Tape::Mode::inference);
  const auto run = [&](Selection selection, double sparsity, AttentionStats* stats = nullptr) {
    return attention(t, q, k, v, {offsets, offsets},
                     {.heads = 1, .scale = 1, .selection = selection, .sparsity = sparsity, .dropout = {}}, stats);
  };
  AttentionStats stats;
  const auto out = run(Selection::top_k_row, 0.6, &stats).to_vector();  // keeps 2 of 5: keys 0 and 1
  for (size_t i = 0; i < 5; ++i) {
    CHECK(out[2 * i] == Approx(1.5));
    CHECK(out[2 * i + 1] == Approx(15));
  }
  CHECK(stats.kept.item() == 10);
  CHECK(stats.pairs == 25);
  CHECK(stats.queries == 5);
  CHECK(stats.entropy.item() == Approx(5 * std::log(2.0)));
  run(Selection::percentile_head, 0.6, &stats);  // ties at the threshold are all kept
  CHECK(stats.kept.item() == 25);
  CHECK(same_bits(run(Selection::top_k_row, 0), run(Selection::all, 0)));
  CHECK(same_bits(run(Selection::percentile_head, 0), run(Selection::all, 0)));
}

TEST_CASE("attention counts what the plain selection keeps", "[isa]") {
  const Tensor offsets = i32({0, 1, 8, 60});
  const Tensor q = numbers({60, 8}, 1), k = numbers({60, 8}, 2), v = numbers({60, 8}, 3);
  for (const Selection selection : {Selection::all, Selection::top_k_row, Selection::percentile_head}) {
    for (const double sparsity : {0.0, 0.3, 0.5, 0.8, 0.95}) {
      const AttentionRule rule{.heads = 2, .scale = 0.5, .selection = selection, .sparsity = sparsity, .dropout = {}};
      Tape t(Tape::Mode::inference);
      AttentionStats stats;
      double expected = 0;
      attention(t, q, k, v, {offsets, offsets}, rule, &stats);
      plain_attention(t, q, k, v, offsets, offsets, rule, &expected);
      CHECK(stats.kept.to_vector()[0] + stats.kept.to_vector()[1] == expected);
      CHECK(stats.pairs == 1 + 49 + 52 * 52);
    }
  }
}

TEST_CASE("absorbed projections give the attention of one query a sequence on keys and values", "[isa]") {
  const int64_t heads = 3, dim = 12, width = 16;
  const Tensor one_query = i32({0, 1, 2, 3}), queries = i32({0, 3, 6, 9}), keys = i32({0, 1, 8, 25});
  for (const auto& [type, tolerance] : {std::pair{DType::f64, 1e-12}, {DType::f32, 2e-5}}) {
    for (const double p : {0.0, 0.4}) {
      for (const double sparsity : {0.0, 0.6}) {
        INFO(name_of(type) << ", dropout " << p << ", sparsity " << sparsity);
        AttentionRule rule{.heads = heads,
                           .scale = 0.5,
                           .selection = sparsity > 0 ? Selection::top_k_row : Selection::all,
                           .sparsity = sparsity,
                           .dropout = {p, {.seed = 3, .stream = Stream::dropout}}};
        const auto plain = [&](Tape& t, std::span<const Tensor> in) {
          return attention(t, in[0], linear(t, in[1], in[2], in[3]), linear(t, in[1], in[4], in[5]), {one_query, keys},
                           rule);
        };
        const auto absorbed = [&](Tape& t, std::span<const Tensor> in) {
          const Tensor one = full({25, 1}, in[1].dtype(), 1), rest = zeros({25, width - dim - 1}, in[1].dtype());
          const Tensor x1 = concat(t, std::array{in[1], one, rest}, 1);
          AttentionRule of_one_head = rule;
          of_one_head.heads = 1;
          const Tensor wide = absorb_keys(t, in[0], in[2], in[3], heads, width);
          return absorb_values(t, attention(t, wide, x1, x1, {queries, keys}, of_one_head), in[4], in[5], heads);
        };
        // The bias of the keys has a true gradient of 0, for which no relative tolerance holds.
        same_function(absorbed, plain,
                      {input({3, dim}, 1, type), input({25, dim}, 2, type), input({dim, dim}, 3, type),
                       numbers({dim}, 4, type), input({dim, dim}, 5, type), input({dim}, 6, type)},
                      tolerance);
      }
    }
  }
}
