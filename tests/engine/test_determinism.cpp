// The same bits at 1, 2, 3 and 4 threads, with fewer than there should be, and from run to run: every operation's
// samples, and larger shapes that cross the bounds of the kernels' chunks and tiles. Forward and backward.
#include <algorithm>

#include "engine/cpu/threads/team.h"
#include "tests/engine/attention_members.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

using Function = std::function<Tensor(Tape&, std::span<const Tensor>)>;

// The result and all gradients, from fresh gradients.
std::vector<Tensor> results(const Function& f, const std::vector<Tensor>& inputs, int threads) {
  for (const Tensor& t : inputs) t.clear_grad();
  const Context context({.threads = threads});
  Tape tape(context);
  const Tensor out = f(tape, inputs);
  std::vector<Tensor> all{out.detach().clone()};
  tape.backward(sum(tape, mul(tape, out, numbers(out.shape(), 99, out.dtype()))));
  for (const Tensor& t : inputs)
    if (t.requires_grad() && t.grad()) all.push_back(t.grad().clone());
  return all;
}

void same_at_any_thread_count(const Function& f, const std::vector<Tensor>& inputs) {
  const std::vector<Tensor> expected = results(f, inputs, 1);
  const auto check = [&](const std::vector<Tensor>& actual) {
    REQUIRE(actual.size() == expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      INFO((i == 0 ? "result" : "gradient ") << i);
      CHECK(same_bits(actual[i], expected[i]));
    }
  };
  for (const int threads : {1, 2, 3, 4}) {
    INFO(threads << " threads");
    check(results(f, inputs, threads));
  }
  // Where the threads are busy with another loop, a kernel that has prepared for four runs on one.
  INFO("inside of another loop");
  std::vector<Tensor> inside;
  parallel_tasks(2, 1, 2, [&](int64_t task) {
    if (task == 0) inside = results(f, inputs, 4);
  });
  check(inside);
}

Tensor input(const Shape& shape, uint64_t seed, double mean = 0) {
  return numbers(shape, seed, DType::f32, mean).set_requires_grad();
}

}  // namespace

TEST_CASE("every sample has the same bits at any thread count") {
  for (const Op* op : all_ops()) {
    for (const Sample& sample : op->samples()) {
      INFO(op->name << ": " << sample.what);
      same_at_any_thread_count(sample.run, sample.inputs);
    }
  }
}

TEST_CASE("large elementwise operations have the same bits at any thread count") {
  const Tensor x = input({37, 1237}, 1, 3), y = input({37, 1237}, 2, 3), row = input({1237}, 3, 3),
               column = input({37, 1}, 4, 3);
  for (const auto f : {exp, log, sqrt, tanh, sigmoid, relu, erf, gelu})
    same_at_any_thread_count([f](Tape& t, auto in) { return f(t, in[0]); }, {x});
  for (const auto f : {add, sub, mul, div}) {
    for (const Tensor& other : {y, row, column})
      same_at_any_thread_count([f](Tape& t, auto in) { return f(t, in[0], in[1]); }, {x, other});
  }
  same_at_any_thread_count([](Tape& t, auto in) { return scale(t, in[0], 0.3); }, {x});
  same_at_any_thread_count([](Tape& t, auto in) { return dropout(t, in[0], {0.1, {.seed = 1}}); }, {x});
}

TEST_CASE("large reductions and moves have the same bits at any thread count") {
  const Tensor x = input({301, 3, 97}, 1), table = input({997, 64}, 2);
  same_at_any_thread_count([](Tape& t, auto in) { return sum(t, in[0]); }, {x});
  for (const int axis : {0, 1, 2}) {
    same_at_any_thread_count([=](Tape& t, auto in) { return sum(t, in[0], axis); }, {x});
    same_at_any_thread_count([=](Tape& t, auto in) { return mean(t, in[0], axis); }, {x});
    same_at_any_thread_count([=](Tape& t, auto in) { return max(t, in[0], axis); }, {x});
    same_at_any_thread_count([=](Tape& t, auto in) { return slice(t, in[0], axis, 1, 2); }, {x});
    same_at_any_thread_count([=](Tape& t, auto in) { return concat(t, std::vector{in[0], in[0]}, axis); }, {x});
  }
  same_at_any_thread_count([](Tape& t, auto in) { return transpose(t, in[0]); }, {x});
  std::vector<int32_t> ids;
  for (int i = 0; i < 3000; ++i) ids.push_back(i * i % 997);
  const Tensor id = Tensor::from(std::span<const int32_t>(ids), {3000});
  same_at_any_thread_count([=](Tape& t, auto in) { return embedding(t, in[0], id); }, {table});

  const auto squares = [&](int threads) {
    const Context context({.threads = threads});
    return sum_squares(x, context);
  };
  for (const int threads : {2, 4}) CHECK(squares(threads) == squares(1));
}

TEST_CASE("large products and fused operations have the same bits at any thread count") {
  const Tensor x = input({517, 96}, 1), w = input({401, 96}, 2), b = input({401}, 3), y = input({517, 96}, 4);
  const Tensor gain = input({96}, 5, 1), bias = input({96}, 6);
  const Dropout drop{0.1, {.seed = 1, .stream = Stream::dropout}};
  same_at_any_thread_count([](Tape& t, auto in) { return matmul(t, in[0], in[1], false, true); }, {x, w});
  same_at_any_thread_count([](Tape& t, auto in) { return linear(t, in[0], in[1], in[2], Activation::gelu); },
                           {x, w, b});
  same_at_any_thread_count([](Tape& t, auto in) { return softmax(t, in[0]); }, {x});
  same_at_any_thread_count([](Tape& t, auto in) { return log_softmax(t, in[0]); }, {x});
  same_at_any_thread_count([](Tape& t, auto in) { return layer_norm(t, in[0], in[1], in[2], 1e-12); }, {x, gain, bias});
  same_at_any_thread_count(
      [=](Tape& t, auto in) { return residual_layer_norm(t, in[0], in[1], drop, in[2], in[3], 1e-12); },
      {x, y, gain, bias});
  std::vector<int32_t> labels(517), positions(517);
  for (int i = 0; i < 517; ++i) {
    labels[static_cast<size_t>(i)] = i * 5 % 96;
    positions[static_cast<size_t>(i)] = i % 40;
  }
  const Tensor label = Tensor::from(std::span<const int32_t>(labels), {517});
  const Tensor position = Tensor::from(std::span<const int32_t>(positions), {517});
  same_at_any_thread_count([=](Tape& t, auto in) { return cross_entropy(t, in[0], label); }, {x});
  same_at_any_thread_count(
      [=](Tape& t, auto in) {
        return embeddings_layer_norm(t, in[0], in[1], label, position, in[2], in[3], 1e-12, drop);
      },
      {input({96, 96}, 7), input({40, 96}, 8), gain, bias});
  // So wide that the partial sums of gelu's bias gradient are added by several threads as well.
  same_at_any_thread_count([](Tape& t, auto in) { return feed_forward(t, in[0], in[1], in[2], in[3], in[4]); },
                           {x, input({2100, 96}, 10), input({2100}, 11), input({96, 2100}, 12), bias});
  same_at_any_thread_count([](Tape& t, auto in) { return absorb_keys(t, in[0], in[1], in[2], 4, 80); },
                           {x, input({96, 64}, 13), bias});
  same_at_any_thread_count([](Tape& t, auto in) { return absorb_values(t, in[0], in[1], in[2], 4); },
                           {input({4 * 517, 80}, 14), input({96, 64}, 13), bias});
  const Tensor offsets = sample_ids({0, 3, 130, 258, 259, 517});
  for (const Selection selection : {Selection::all, Selection::top_k_row, Selection::percentile_head}) {
    same_at_any_thread_count(
        [=](Tape& t, auto in) {
          return attention(t, in[0], in[1], in[2], {offsets, offsets},
                           {.heads = 4, .scale = 0.2, .selection = selection, .sparsity = 0.8, .dropout = drop});
        },
        {x, y, input({517, 96}, 9)});
  }
}

TEST_CASE("every member of the family of attention has the same bits at any thread count") {
  const std::vector<int32_t> lengths{40, 3, 70, 1, 22};
  const Tensor offsets = offsets_of(lengths);
  const Tensor q = input({136, 24}, 1), k = input({136, 24}, 2), v = input({136, 24}, 3);
  for (const Member& m : members(3, DType::f32, lengths)) {
    std::vector<Tensor> expected;
    for (const int threads : {1, 2, 4}) {
      const Context context({.threads = threads});
      for (const Tensor& t : {q, k, v, m.rule.span})
        if (t) t.clear_grad();
      Tape tape(context);
      const Tensor out = attention(tape, q, k, v, {offsets, offsets}, m.rule);
      tape.backward(sum(tape, mul(tape, out, numbers({136, 24}, 4, DType::f32))));
      std::vector<Tensor> results{out.detach().clone(), q.grad().clone(), k.grad().clone(), v.grad().clone()};
      if (m.rule.span) results.push_back(m.rule.span.grad().clone());
      if (threads == 1) expected = results;
      INFO(m.name << ", " << threads << " threads");
      for (size_t i = 0; i < results.size(); ++i) CHECK(same_bits(results[i], expected[i]));
    }
  }
}

TEST_CASE("gradients of rows have the same bits at any thread count") {
  const Tensor words = input({997, 64}, 1), positions = input({500, 64}, 2), gain = input({64}, 3, 1),
               bias = input({64}, 4);
  words.take_grad_by_rows();
  const Tensor ids = Tensor::empty({3000}, DType::i32), position_ids = Tensor::empty({3000}, DType::i32);
  for (int32_t i = 0; i < 3000; ++i) {
    ids.data<int32_t>()[i] = i * i % 997;
    position_ids.data<int32_t>()[i] = i % 500;
  }
  same_at_any_thread_count(
      [=](Tape& t, auto in) {
        const Tensor a = embedding(t, in[0], ids), b = embedding(t, in[0], position_ids);
        const Tensor c = embeddings_layer_norm(t, in[0], in[1], ids, position_ids, in[2], in[3], 1e-12,
                                               {0.1, {.seed = 1, .stream = Stream::dropout}});
        return mul(t, mul(t, a, b), c);
      },
      {words, positions, gain, bias});
}

TEST_CASE("AdamW of rows has the same bits at any thread count") {
  const int64_t rows = 400, cols = 150, n = 300;
  std::vector<int32_t> ids, from;
  for (int32_t i = 0; i < n; ++i) {
    ids.push_back(i * 7 % 400);
    from.push_back(i * i % 20);
  }
  AdamWStep rule{.learning_rate = 1e-3,
                 .beta1 = 0.9,
                 .beta2 = 0.999,
                 .epsilon = 1e-8,
                 .weight_decay = 0.01,
                 .gradient_scale = 0.7,
                 .step = 1};
  std::vector<AdamWRates> rates;
  for (; rule.step <= 20; ++rule.step) rates.push_back(adamw_rates(rule));
  std::vector<Tensor> first;
  for (const int threads : {1, 2, 3, 4}) {
    const Context context({.threads = threads});
    const Tensor p = numbers({rows, cols}, 1, DType::f32), m = numbers({rows, cols}, 2, DType::f32);
    const Tensor v = Tensor::full({rows, cols}, DType::f32, 0.5);
    const Tensor gradient = numbers({n, cols}, 3, DType::f32);
    catch_up_rows(context, {p, {}, m, v, rule}, rates, ids, from);
    std::vector<int32_t> increasing = ids;
    std::sort(increasing.begin(), increasing.end());
    adamw_rows(context, {p, gradient, m, v, rule}, *integers(increasing), {});
    if (first.empty()) first = {p, m, v};
    CHECK(same_bits(p, first[0]));
    CHECK(same_bits(m, first[1]));
    CHECK(same_bits(v, first[2]));
  }
}

TEST_CASE("AdamW has the same bits at any thread count") {
  const AdamWStep rule{.learning_rate = 1e-3,
                       .beta1 = 0.9,
                       .beta2 = 0.999,
                       .epsilon = 1e-8,
                       .weight_decay = 0.01,
                       .gradient_scale = 0.7,
                       .step = 3};
  std::vector<Tensor> first;
  for (const int threads : {1, 2, 4}) {
    const Context context({.threads = threads});
    const Tensor p = numbers({50001}, 1, DType::f32), g = numbers({50001}, 2, DType::f32);
    const Tensor m = numbers({50001}, 3, DType::f32), v = Tensor::full({50001}, DType::f32, 0.5);
    adamw(p, g, m, v, rule, context);
    if (first.empty()) first = {p, m, v};
    CHECK(same_bits(p, first[0]));
    CHECK(same_bits(m, first[1]));
    CHECK(same_bits(v, first[2]));
  }
}
