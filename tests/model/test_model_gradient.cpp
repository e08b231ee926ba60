// The gradient of the whole model against central differences along random directions through all parameters, in f64.
#include "engine/gradcheck.h"
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
