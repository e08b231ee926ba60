// A run that is not finite any more ends before a weight has changed, and names what broke first.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/catch.h"
#include "tests/train/small_run.h"
#include "tests/train/support.h"
#include "train/core/trainer.h"
#include "train/run/checkpoint.h"

using namespace crisp;
using namespace crisp::test;

namespace {

Tensor parameter(const DistilBert& model, const std::string& name) {
  for (const Parameter& p : model.parameters())
    if (p.name == name) return p.tensor;
  FAIL("no parameter " << name);
  return {};
}

void fill(const DistilBert& model, const std::string& name, double value) {
  const Tensor t = parameter(model, name);
  t.copy_from(Tensor::full(t.shape(), t.dtype(), value));
}

std::string divergence(Trainer& trainer) {
  return message_of<Diverged>([&] { finish(trainer); });
}

}  // namespace

TEST_CASE("a parameter that is not finite stops the run before it changes a weight") {
  const TokenizedDataset data = small_data(12, 2, 6);
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    DistilBert model = small_run_model(small_run_config());
    Trainer trainer(model, data, options_for(4, 1, 5));
    StepReport report;
    for (int step = 0; step < 3; ++step) REQUIRE(trainer.micro_step(report));
    const std::string name = "distilbert.transformer.layer.1.attention.out_lin.weight";
    const Tensor broken = parameter(model, name).detach();
    broken.view({broken.numel()}).view_rows(17, 1).copy_from(Tensor::full({1}, DType::f32, bad));
    const std::vector<Tensor> before = weights_now(trainer.model());
    const std::string message = divergence(trainer);
    INFO(message);
    CHECK(contains(message, "the loss is nan at step 4"));
    CHECK(contains(message, "the parameter \"" + name + '"'));
    CHECK(first_difference(model, before) == "");
    CHECK(trainer.state().step == 3);
    CHECK(trainer.optimizer().steps() == 3);
  }
}

// Of a step of three micro-batches, one sentence each, one is broken.
TEST_CASE("a loss that is not finite is told at the end of its step, or when the step is saved half done") {
  Dataset sentences{.path = "sentences", .examples = {}, .num_labels = 2};
  for (const char* text : {"w1", "w2", "w3"}) sentences.examples.push_back({text, 0});
  const TokenizedDataset data(sentences, WordPiece::from_tokens(small_vocabulary()), small_max_length);
  const TrainerOptions options = options_for(1, 3, 2);
  const std::vector<int32_t> order = epoch_order(options.seed, 0, 3);
  for (const size_t broken : {0, 1, 2}) {
    INFO("micro-step " << broken);
    DistilBert model = small_run_model(small_run_config());
    const Tensor words = parameter(model, "distilbert.embeddings.word_embeddings.weight");
    const std::vector<std::string> vocabulary = small_vocabulary();
    const auto word = std::find(vocabulary.begin(), vocabulary.end(), fmt::format("w{}", order[broken] + 1));
    words.detach()
        .view_rows(word - vocabulary.begin(), 1)
        .copy_from(Tensor::full({1, words.dim(1)}, DType::f32, INFINITY));
    const std::vector<Tensor> before = weights_now(model);
    const auto check = [&](const std::string& message) {
      INFO(message);
      CHECK(contains(message, "the loss is nan at step 1; the first tensor that is not finite: the parameter "));
      CHECK(contains(message, "word_embeddings"));
      CHECK(first_difference(model, before) == "");
    };
    {
      Trainer trainer(model, data, options);
      check(divergence(trainer));
      CHECK(trainer.state().step == 0);
    }
    Trainer saved(model, data, options);
    StepReport report;
    for (size_t m = 0; m < 2; ++m) CHECK(!saved.micro_step(report));
    const TempDir directory;
    const auto save = [&] { write_checkpoint(directory.path(), saved, small_tokenizer(), small_max_length, {}, "{}"); };
    if (broken < 2) {
      check(message_of<Diverged>(save));
    } else {
      CHECK_NOTHROW(save());
      CHECK(saved.state().pending_loss > 0);
      check(divergence(saved));
    }
  }
}

TEST_CASE("a result that overflows is named with its place in the model") {
  const TokenizedDataset data = small_data(12, 2, 6);
  DistilBert model = small_run_model(small_run_config());
  fill(model, "distilbert.transformer.layer.2.ffn.lin2.weight", 3e38);
  Trainer trainer(model, data, options_for(4, 1, 1));
  const std::vector<Tensor> before = weights_now(trainer.model());
  const std::string message = divergence(trainer);
  INFO(message);
  CHECK(contains(message, "at step 1"));
  CHECK(contains(message, "the result "));
  CHECK(contains(message, "layer.2 > ffn"));
  CHECK(first_difference(model, before) == "");
}

TEST_CASE("a divergence tells its step, its tensor and the sentences") {
  const TokenizedDataset data = small_data(12, 2, 6);
  DistilBert model = small_run_model(small_run_config());
  const std::string weight = "distilbert.transformer.layer.2.ffn.lin2.weight";
  fill(model, weight, 3e38);
  Trainer trainer(model, data, options_for(4, 3, 1));  // three micro-batches a step
  StepReport report;
  try {
    while (!trainer.micro_step(report)) {
    }
    FAIL("nothing broke");
  } catch (const StepDiverged& divergence) {
    CHECK(divergence.step() == 1);
    CHECK(divergence.micro_step() == 0);
    CHECK(divergence.cause() == "the loss is nan");
    const BrokenTensor& broken = divergence.first_broken();
    CHECK(broken.kind == BrokenTensor::Kind::result);
    CHECK(broken.operation == "feed_forward");
    CHECK(broken.module == "DistilBert > layer.2 > ffn");
    CHECK(broken.values.shape() == Shape{4, model.config().dim});
    const auto is_weight = [&](const Tensor& t) { return t.name() == weight; };
    CHECK(std::any_of(broken.inputs.begin(), broken.inputs.end(), is_weight));
  }
  const std::vector<int32_t> order = epoch_order(options_for(4, 3, 1).seed, 0, 12);
  CHECK(trainer.examples(1) == std::vector<int32_t>(order.begin() + 4, order.begin() + 8));
  CHECK(trainer.mode(7).step == 7);
}

TEST_CASE("a gradient that overflows stops the run, though the loss is finite") {
  const TokenizedDataset data = small_data(12, 2, 6);
  DistilBertConfig config = small_run_config();
  config.dropout = config.attention_dropout = config.classifier_dropout = 0;
  DistilBert model = small_run_model(config);
  // Zeros everywhere: the last LayerNorm divides by sqrt(epsilon), and its gradient grows by 1e6 on the way back.
  for (const Parameter& p : model.parameters())
    if (p.decays && !p.in_head) fill(model, p.name, 0);
  const std::string last_norm = "distilbert.transformer.layer.2.output_layer_norm.bias";
  const Tensor bias = parameter(model, last_norm);
  bias.copy_from(Tensor::normal(bias.shape(), bias.dtype(), {.seed = 1}));
  for (const char* head : {"pre_classifier.weight", "classifier.weight"}) {
    const Tensor t = parameter(model, head);
    t.copy_from(Tensor::normal(t.shape(), t.dtype(), {.seed = 2}, 0, std::string(head)[0] == 'p' ? 1e5 : 1e30));
  }
  Trainer trainer(model, data, options_for(4, 1, 1));
  const std::vector<Tensor> before = weights_now(trainer.model());
  const std::string message = divergence(trainer);
  INFO(message);
  CHECK(contains(message, "the gradient norm is "));
  CHECK(contains(message, " at step 1;"));
  // Named is the first on the way back, not the many that it has spoiled.
  CHECK(contains(message, "the gradient of the result \"DistilBert > layer.2 > ffn > feed_forward"));
  CHECK(first_difference(model, before) == "");
  CHECK(trainer.state().step == 0);
}

TEST_CASE("a parameter's gradient that overflows alone is named, whichever micro-batch it comes from") {
  const TokenizedDataset data = small_data(12, 2, 6);
  DistilBertConfig config = small_run_config();
  config.dropout = config.attention_dropout = config.classifier_dropout = 0;
  DistilBert model = small_run_model(config);
  // Into pre_classifier come 1e10s, and back come 1e30s: their product is its weight's gradient. The weight itself is
  // 0, so that what goes on from there is finite.
  fill(model, "distilbert.transformer.layer.2.output_layer_norm.bias", 1e10);
  fill(model, "pre_classifier.weight", 0);
  fill(model, "pre_classifier.bias", 1e-30);
  const Tensor classifier = parameter(model, "classifier.weight");
  std::vector<double> rows(static_cast<size_t>(classifier.numel()), 1e30);
  for (size_t i = 0; i < rows.size() / 2; ++i) rows[i] = -1e30;
  classifier.copy_from(Tensor::from(rows, classifier.shape(), DType::f32));
  Trainer trainer(model, data, options_for(2, 6, 1));
  const std::string message = divergence(trainer);
  INFO(message);
  CHECK(contains(message, "the gradient of \"pre_classifier.weight\""));
}

TEST_CASE("a learning rate that is far too large ends as divergence") {
  const TokenizedDataset data = small_data(12, 2, 6);
  DistilBert model = small_run_model(small_run_config());
  TrainerOptions options = options_for(4, 1, 100);
  options.learning_rate = 1e30;
  options.warmup_ratio = 0;
  Trainer trainer(model, data, options);
  StepReport report;
  std::vector<Tensor> before;
  const std::string message = message_of<Diverged>([&] {
    while (!trainer.finished()) {
      before = weights_now(trainer.model());
      trainer.micro_step(report);
    }
  });
  INFO(message);
  CHECK(contains(message, fmt::format("at step {}", trainer.state().step + 1)));
  CHECK(contains(message, "the first tensor that is not finite: "));
  CHECK(first_difference(model, before) == "");
}
