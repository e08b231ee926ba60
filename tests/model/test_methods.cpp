// Every method of sparse attention in a whole model.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "engine/gradcheck.h"
#include "tests/model/methods.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace crisp;
using namespace crisp::test;

namespace {

const std::vector<int> lengths{1, 2, 3, 5, 8, 13};

Batch some_batch(const std::vector<int>& of = lengths) {
  return pack_parsed(random_sequences(of, small_config().vocab_size));
}

Tensor logits_of(const DistilBert& model, const Batch& batch, const ForwardMode& mode = {}) {
  Tape tape(Tape::Mode::inference);
  return model.forward(tape, batch, mode);
}

SparsityOptions options_of(SparseMethod method, const std::string& sparsity) {
  SparsityOptions o;
  o.method = method;
  o.sparsity = sparsity;
  return o;
}

// Pairs that a layer keeps, over all heads, and all of them.
struct Pairs {
  double kept = 0, all = 0;
};
std::vector<Pairs> pairs_of(const DistilBert& model, const Batch& batch) {
  std::vector<AttentionStats> stats;
  logits_of(model, batch, {.stats = &stats});
  std::vector<Pairs> pairs;
  for (const AttentionStats& layer : stats) {
    Pairs& p = pairs.emplace_back();
    for (const double x : layer.kept.to_vector()) p.kept += x;
    p.all += static_cast<double>(layer.pairs * layer.kept.numel());
  }
  return pairs;
}

}  // namespace

// Selections are constants to the gradient, so the steps must be short enough to flip no key in or out.
TEST_CASE("the gradient of a model with each method agrees with central differences") {
  for (const MethodCase& c : method_cases()) {
    const DistilBert model = method_model(c.options, DType::f64);
    const Batch batch = some_batch();
    const Tensor labels = labels_for(batch.size(), model.config().num_labels);
    const auto loss = [&](Tape& tape) {
      const Tensor logits = model.forward(tape, batch, {.training = true, .seed = 11, .step = 3});
      const Tensor penalty = model.span_penalty(tape), entropy = cross_entropy(tape, logits, labels);
      return penalty ? add(tape, entropy, penalty) : entropy;
    };
    const double step = c.options.method == SparseMethod::learned_span ? 1e-4 : 4e-6;  // a gate flips nothing
    const DirectionalReport report = check_directional(loss, tensors_of(model), 10, 7, step);
    INFO(c.name << "\n" << report.str());
    CHECK(report.max_error() <= 1e-6);
  }
}

TEST_CASE("learned degrees have the right gradient, the penalty's part included") {
  SparsityOptions o = options_of(SparseMethod::learned_span, "dense");
  o.span_penalty = 0.3;
  const DistilBert model = method_model(o, DType::f64);
  const Batch batch = some_batch();
  const Tensor labels = labels_for(batch.size(), model.config().num_labels);
  std::vector<Tensor> spans;
  for (const Parameter& p : model.parameters())
    if (p.is_span) spans.push_back(p.tensor);
  REQUIRE(spans.size() == 3);
  const auto entropy = [&](Tape& tape) {
    return cross_entropy(tape, model.forward(tape, batch, {.training = true}), labels);
  };
  const auto loss = [&](Tape& tape) { return add(tape, entropy(tape), model.span_penalty(tape)); };
  const DirectionalReport report = check_directional(loss, spans, 10, 7, 1e-4);
  INFO(report.str());
  CHECK(report.max_error() <= 1e-6);

  const auto gradient = [&](auto&& f) {
    Tape tape;
    tape.backward(f(tape));
    std::vector<double> g;
    for (const Tensor& t : spans) {
      for (const double x : t.grad().to_vector()) g.push_back(x);
      t.clear_grad();
    }
    for (const Tensor& t : tensors_of(model)) t.clear_grad();
    return g;
  };
  const std::vector<double> with = gradient(loss), without = gradient(entropy);
  double mean = 0;
  for (const auto& layer : model.spans())
    for (const double z : layer) mean += z / 9;
  Tape tape(Tape::Mode::inference);
  CHECK(model.span_penalty(tape).item() == Approx(0.3 * mean));
  for (size_t i = 0; i < with.size(); ++i) {
    CHECK(with[i] - without[i] == Approx(0.3 / 9));
    CHECK(without[i] != 0);
  }
}

TEST_CASE("methods: the order of a batch's sequences is the order of its logits and nothing else") {
  for (const MethodCase& c : method_cases()) {
    INFO(c.name);
    const DistilBert model = method_model(c.options, DType::f64);
    auto sequences = random_sequences({4, 1, 9, 23, 2}, small_config().vocab_size);
    for (const bool training : {false, true}) {
      if (training && c.chancy()) continue;
      const std::vector<double> forwards = logits_of(model, pack_parsed(sequences), {.training = training}).to_vector();
      std::reverse(sequences.begin(), sequences.end());
      const std::vector<double> backwards =
          logits_of(model, pack_parsed(sequences), {.training = training}).to_vector();
      std::vector<double> turned;
      for (size_t s = sequences.size(); s-- > 0;)
        for (size_t l = 0; l < 3; ++l) turned.push_back(backwards[3 * s + l]);
      CHECK(relative_l2(turned, forwards) <= 1e-12);
    }
  }
}

TEST_CASE("methods: asking for statistics changes no bit of the logits") {
  for (const MethodCase& c : method_cases()) {
    INFO(c.name);
    const DistilBert model = method_model(c.options, DType::f32);
    const Batch batch = some_batch();
    for (const bool training : {false, true}) {
      std::vector<AttentionStats> stats;
      const Tensor without = logits_of(model, batch, {.training = training, .seed = 3});
      CHECK(same_bits(without, logits_of(model, batch, {.training = training, .seed = 3, .stats = &stats})));
      REQUIRE(stats.size() == 3);
    }
  }
}

TEST_CASE("methods by sparsity are dense attention at 0, bit for bit") {
  const Batch batch = some_batch();
  const Tensor dense = logits_of(method_model({}, DType::f32), batch);
  for (const MethodCase& c : method_cases()) {
    if (c.options.by_measure() || c.options.drop_columns || c.options.drop_key > 0) continue;
    INFO(c.name);
    SparsityOptions o = c.options;
    o.sparsity = "0";
    for (const bool training : {false, true})
      CHECK(same_bits(logits_of(method_model(o, DType::f32), batch, {.training = training}), dense));
  }
}

TEST_CASE("methods: training and evaluation are sparse or dense as they are told") {
  const Batch batch = some_batch();
  const Tensor dense = logits_of(method_model({}, DType::f32), batch);
  for (const MethodCase& c : method_cases()) {
    if (c.name == "dense" || c.chancy()) continue;
    INFO(c.name);
    const bool learned = c.options.method == SparseMethod::learned_span;
    const Tensor sparse = logits_of(method_model(c.options, DType::f32), batch);
    CHECK_FALSE(same_bits(sparse, dense));
    for (const bool in_training : {false, true}) {
      if (!in_training && learned) continue;
      for (const bool at_evaluation : {false, true}) {
        if (!in_training && !at_evaluation) continue;  // refused
        SparsityOptions o = c.options;
        o.in_training = in_training;
        o.at_evaluation = at_evaluation;
        const DistilBert model = method_model(o, DType::f32);
        CHECK(same_bits(logits_of(model, batch), at_evaluation ? sparse : dense));
        // There is no dropout here. A gate is not the window that it is rounded to.
        if (!learned) CHECK(same_bits(logits_of(model, batch, {.training = true}), in_training ? sparse : dense));
      }
    }
  }
}

TEST_CASE("layers left out keep every pair, the others what was asked for") {
  const Batch batch = some_batch();
  for (const auto& [text, active] :
       std::vector<std::pair<std::string, std::vector<bool>>>{{"all", {true, true, true}},
                                                              {"early", {true, false, false}},
                                                              {"late", {false, false, true}},
                                                              {"1", {false, true, false}}}) {
    for (const SparseMethod method : {SparseMethod::top_k, SparseMethod::random_k, SparseMethod::lexical,
                                      SparseMethod::learned_span, SparseMethod::sparsemax}) {
      INFO(method_name(method) << ", layers " << text);
      SparsityOptions o = options_of(method, "0.6");
      if (o.by_measure()) o.sparsity = "dense";
      o.sparse_layers = text;
      const std::vector<Pairs> pairs = pairs_of(method_model(o, DType::f64), batch);
      for (size_t l = 0; l < 3; ++l) CHECK((pairs[l].kept < pairs[l].all) == active[l]);
    }
  }
}

TEST_CASE("the methods by k keep equally many pairs in every layer") {
  const Batch batch = some_batch({4, 9, 30, 17});
  const auto kept = [&](SparseMethod method) {
    return pairs_of(method_model(options_of(method, "0.3,0.6,0.9"), DType::f64), batch);
  };
  const std::vector<Pairs> expected = kept(SparseMethod::top_k);
  for (const SparseMethod method : {SparseMethod::bottom_k, SparseMethod::random_k, SparseMethod::neighbour,
                                    SparseMethod::lexical, SparseMethod::syntax}) {
    INFO(method_name(method));
    const std::vector<Pairs> pairs = kept(method);
    for (size_t l = 0; l < 3; ++l) CHECK(pairs[l].kept == expected[l].kept);
  }
}

TEST_CASE("a ramp has the bits of the sparsity that it has reached") {
  const Batch batch = some_batch();
  for (const SparseMethod method : {SparseMethod::top_k, SparseMethod::percentile, SparseMethod::neighbour}) {
    SparsityOptions ramp = options_of(method, "0.8");
    ramp.ramp = 0.5;
    const DistilBert model = method_model(ramp, DType::f32);
    for (const auto& [progress, sparsity] :
         {std::pair(0.0, "0"), std::pair(0.25, "0.4"), std::pair(0.5, "0.8"), std::pair(0.75, "0.8")}) {
      INFO(method_name(method) << " at " << progress);
      const DistilBert constant = method_model(options_of(method, sparsity), DType::f32);
      CHECK(same_bits(logits_of(model, batch, {.training = true, .progress = progress}),
                      logits_of(constant, batch, {.training = true})));
      CHECK(same_bits(logits_of(model, batch, {.progress = progress}),
                      logits_of(method_model(options_of(method, "0.8"), DType::f32), batch)));
    }
  }
}

TEST_CASE("random connections stay where they are, chance in training does not") {
  const Batch batch = some_batch();
  for (const MethodCase& c : method_cases()) {
    const bool connections = c.options.method == SparseMethod::random_k || c.name == "bigbird";
    if (!connections && !c.chancy()) continue;
    INFO(c.name);
    const DistilBert model = method_model(c.options, DType::f32);
    const auto training = [&](uint64_t seed, uint32_t step) {
      return logits_of(model, batch, {.training = true, .seed = seed, .step = step});
    };
    CHECK(same_bits(training(1, 1), training(1, 1)));
    CHECK(same_bits(training(1, 1), training(1, 2)) == connections);
    CHECK(same_bits(training(1, 1), training(2, 1)) == connections);
    CHECK(same_bits(training(1, 1), logits_of(model, batch)) == connections);
    SparsityConfig other = model.config().sparsity;
    other.seed = 6;
    DistilBert changed = model.clone();
    changed.set_sparsity(other);
    CHECK(same_bits(training(1, 1), logits_of(changed, batch, {.training = true, .seed = 1, .step = 1})) !=
          connections);
  }
}

TEST_CASE("at evaluation learned degrees are hard windows") {
  SparsityOptions learned = options_of(SparseMethod::learned_span, "dense");
  learned.span_init = 1.7;
  learned.span_ramp = 3;
  SparsityOptions window = options_of(SparseMethod::neighbour, "dense");
  window.window = 3;  // floor(1.7 + 3 / 2)
  DistilBertConfig config = small_config();
  DistilBert model = random_model(config, DType::f64), fixed = random_model(config, DType::f64);
  model.set_sparsity(make_sparsity(learned, config.layers, 1));
  fixed.set_sparsity(make_sparsity(window, config.layers, 1));
  const Batch batch = some_batch();
  CHECK(relative_l2(logits_of(model, batch).to_vector(), logits_of(fixed, batch).to_vector()) <= 1e-13);
  for (const Pairs& p : pairs_of(model, batch)) CHECK(p.kept < p.all);
}

TEST_CASE("learned degrees come, stay within bounds and go with the sparsity") {
  DistilBertConfig config = small_config();
  DistilBert model = random_model(config, DType::f32);
  const size_t plain = model.parameters().size();
  CHECK(model.spans().empty());
  SparsityOptions o = options_of(SparseMethod::learned_span, "dense");
  o.sparse_layers = "0,2";
  o.span_init = 2.5;
  model.set_sparsity(make_sparsity(o, config.layers, 0));
  REQUIRE(model.parameters().size() == plain + 2);
  const Parameter& last = model.parameters().back();
  CHECK(last.name == "distilbert.transformer.layer.2.attention.span");
  CHECK(last.is_span);
  CHECK_FALSE(last.decays);
  CHECK(model.spans() == std::vector<std::vector<double>>{{2.5, 2.5, 2.5}, {}, {2.5, 2.5, 2.5}});
  Tape tape(Tape::Mode::inference);
  CHECK_FALSE(model.span_penalty(tape));  // no penalty was asked for

  last.tensor.copy_from(Tensor::from(std::vector<double>{-1, 3.25, 1e9}, {3}, DType::f32));
  model.clamp_spans(Context::standard());
  CHECK(model.spans()[2] == std::vector<double>{0, 3.25, 40});

  // What a file keeps.
  DistilBertConfig saved = model.config();
  saved.sparsity.spans = model.spans();
  const DistilBertConfig read = parse_config(config_json(saved), "config.json");
  CHECK(read.sparsity == saved.sparsity);
  CHECK(DistilBert(read, DType::f32).spans() == model.spans());

  model.set_sparsity(parse_sparsity("0.5", config.layers));
  CHECK(model.parameters().size() == plain);
  CHECK(model.spans().empty());
}

TEST_CASE("a model is not copied by accident, and a clone shares nothing with it") {
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<DistilBert>);
  STATIC_REQUIRE_FALSE(std::is_copy_assignable_v<DistilBert>);
  STATIC_REQUIRE(std::is_nothrow_move_constructible_v<DistilBert>);
  SparsityOptions o = options_of(SparseMethod::learned_span, "dense");
  o.sparse_layers = "1";
  DistilBert model = method_model(o, DType::f64);
  const Parameter& span = model.parameters().back();
  span.tensor.copy_from(Tensor::from(std::vector<double>{1, 2.5, 4}, {3}, DType::f64));
  model.parameters()[2].tensor.set_requires_grad(false);  // frozen
  const DistilBert copy = model.clone();
  REQUIRE(copy.parameters().size() == model.parameters().size());
  const Batch batch = some_batch();
  const Tensor before = logits_of(model, batch);
  CHECK(same_bits(logits_of(copy, batch), before));
  CHECK(copy.spans() == model.spans());
  for (size_t i = 0; i < copy.parameters().size(); ++i) {
    const Parameter &a = model.parameters()[i], &b = copy.parameters()[i];
    INFO(a.name);
    CHECK(a.name == b.name);
    CHECK((a.decays == b.decays && a.in_head == b.in_head && a.is_span == b.is_span));
    CHECK(a.tensor.requires_grad() == b.tensor.requires_grad());
    CHECK(a.tensor.gradient().by_rows() == b.tensor.gradient().by_rows());
    CHECK(same_bits(a.tensor, b.tensor));
    CHECK(a.tensor.raw() != b.tensor.raw());
  }
  for (const Parameter& p : model.parameters()) p.tensor.copy_from(Tensor::zeros(p.tensor.shape(), DType::f64));
  CHECK(same_bits(logits_of(copy, batch), before));
  const DistilBert moved = std::move(model);
  CHECK(moved.parameters().size() == copy.parameters().size());
}
