// The gradient of the whole model against central differences along random directions through all parameters, in f64.
#include "engine/gradcheck.h"
#include "tests/model/methods.h"
#include "tests/support/catch.h"
#include "tests/support/small_model.h"

using namespace crisp;
using namespace crisp::test;

namespace {

constexpr int directions = 20;

// `step` is the distance along a direction of length 1 through all (about 4000) parameters.
DirectionalReport check(DistilBertConfig config, const std::string& sparsity, SparseMethod method, bool dropout,
                        double step) {
  config.sparsity = parse_sparsity(sparsity, config.layers);
  config.sparsity.method = method;
  if (dropout) config.dropout = config.attention_dropout = config.classifier_dropout = 0.2;
  const DistilBert model = random_model(config, DType::f64);
  const std::vector<int> lengths{1, 2, 3, 5, 8, 13};
  const Batch batch = pack(random_sequences(lengths, config.vocab_size));
  const Tensor labels = labels_for(batch.size(), config.num_labels);
  const auto loss = [&](Tape& tape) {
    // A fixed key: every evaluation of the loss drops the same elements.
    const Tensor logits = model.forward(tape, batch, {.training = true, .seed = 11, .step = 3});
    return cross_entropy(tape, logits, labels);
  };
  return check_directional(loss, tensors_of(model), directions, 7, step);
}

void must_pass(const DirectionalReport& report) {
  REQUIRE(report.directions.size() == directions);
  INFO(report.str());
  CHECK(report.max_error() <= 1e-6);
}

}  // namespace

TEST_CASE("the dense model's gradient agrees with central differences") {
  for (const bool dropout : {false, true})
    must_pass(check(small_config(), "dense", SparseMethod::top_k, dropout, 1e-3));
}

// The selection is a constant to the gradient, so the steps must be short enough to flip no key in or out.
TEST_CASE("the gradient at sparsity 0.8 agrees with central differences") {
  for (const SparseMethod method : {SparseMethod::top_k, SparseMethod::percentile})
    for (const bool dropout : {false, true}) must_pass(check(small_config(), "0.8", method, dropout, 4e-6));
}

TEST_CASE("a single layer, a single head and a head of width 1 have the right gradient") {
  DistilBertConfig config = small_config();
  config.layers = 1;
  config.heads = 1;
  must_pass(check(config, "0.5", SparseMethod::top_k, true, 4e-6));
  config.heads = config.dim;
  must_pass(check(config, "0.5", SparseMethod::percentile, false, 4e-6));
}

TEST_CASE("a model with gradients of its own has the weights and the gradients of the first, and leaves it none") {
  for (const MethodCase& c : method_cases()) {
    CAPTURE(c.name);
    const DistilBert model = method_model(c.options, DType::f32);
    const Batch batch = pack_parsed(random_sequences({1, 3, 8, 13}, model.config().vocab_size));
    const Tensor labels = labels_for(batch.size(), model.config().num_labels);
    const auto backward = [&](const DistilBert& of) {
      Tape tape;
      tape.backward(cross_entropy(tape, of.forward(tape, batch, {.training = true, .seed = 11, .step = 3}), labels));
    };
    const DistilBert own = model.with_own_gradients();
    backward(own);
    REQUIRE(own.parameters().size() == model.parameters().size());
    for (size_t i = 0; i < own.parameters().size(); ++i) {
      const Parameter &p = own.parameters()[i], &first = model.parameters()[i];
      CHECK(p.name == first.name);
      CHECK(p.tensor.name() == first.tensor.name());
      CHECK(p.tensor.raw() == first.tensor.raw());
      CHECK(p.tensor.gradient().by_rows() == first.tensor.gradient().by_rows());
      CHECK_FALSE(first.tensor.gradient());
    }
    CHECK(own.word_embeddings().same_as(own.parameters()[0].tensor));
    backward(model);
    for (size_t i = 0; i < own.parameters().size(); ++i) {
      CAPTURE(own.parameters()[i].name);
      const Tensor gradient = own.parameters()[i].tensor.grad(), expected = model.parameters()[i].tensor.grad();
      REQUIRE(static_cast<bool>(gradient) == static_cast<bool>(expected));
      if (gradient) CHECK(gradient.to_vector() == expected.to_vector());
    }
  }
}
