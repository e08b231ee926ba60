// Learned degrees in training: their rate and penalty, checkpoints, files, and what is logged.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/train/small_run.h"
#include "tests/train/support.h"
#include "train/inference/model_files.h"
#include "train/run/checkpoint.h"
#include "train/run/results.h"
#include "weights/safetensors.h"

using namespace crisp;
using namespace crisp::test;

namespace {

SparsityConfig span_config(double penalty = 0.1, double rate = 0.2) {
  SparsityOptions o;
  o.method = SparseMethod::learned_span;
  o.span_init = 2.6;
  o.span_penalty = penalty;
  o.span_learning_rate = rate;
  return make_sparsity(o, small_run_config().layers, 1);
}

DistilBert span_model(uint64_t seed = 3, const SparsityConfig& sparsity = span_config()) {
  DistilBertConfig config = small_run_config();
  config.sparsity = sparsity;
  DistilBert model(config, DType::f32);
  model.initialise(seed);
  return model;
}

double mean_of(const std::vector<std::vector<double>>& spans) {
  double sum = 0, count = 0;
  for (const auto& layer : spans)
    for (const double z : layer) sum += z, ++count;
  return sum / count;
}

}  // namespace

TEST_CASE("a run with learned degrees resumes with the same bits") {
  const TempDir directory;
  const TokenizedDataset data = small_data(22, 1, 9);
  DistilBert model = span_model();
  Trainer whole(model, data, accumulating_options().trainer());
  const std::string fingerprint = run_fingerprint(accumulating_options(), data, data, model.config(), "");
  finish(whole);
  const std::vector<Tensor> expected = weights_now(model);
  CHECK(mean_of(model.spans()) != Approx(2.6).epsilon(1e-3));
  StepReport report;
  for (const int cut : {0, 2, 3, 5, 8, 15}) {
    INFO("stopped after micro-step " << cut);
    DistilBert first = span_model(), second = span_model(999);
    Trainer stopped(first, data, accumulating_options().trainer()),
        resumed(second, data, accumulating_options().trainer());
    for (int i = 0; i < cut; ++i) stopped.micro_step(report);
    const std::string checkpoint = directory / fmt::format("{}", cut);
    std::filesystem::create_directory(checkpoint);
    write_checkpoint(checkpoint, stopped, small_tokenizer(), small_max_length, {}, fingerprint);
    for (const Parameter& p : second.parameters())  // so that what is not restored shows
      if (p.is_span) p.tensor.copy_from(Tensor::full(p.tensor.shape(), DType::f32, 7));
    read_checkpoint(checkpoint, resumed, fingerprint);
    CHECK(first_difference(second, weights_now(first)) == "");
    for (int i = cut; i < micro_steps; ++i) resumed.micro_step(report);
    CHECK(resumed.finished());
    CHECK(first_difference(second, expected) == "");
  }
  // Other settings are another run.
  DistilBert other = span_model(3, span_config(0.2));
  CHECK(contains(message_of<UsageError>([&] {
                   check_same_run(fingerprint, run_fingerprint(accumulating_options(), data, data, other.config(), ""),
                                  "out");
                 }),
                 "span_penalty: 0.1 then, 0.2 now"));
}

TEST_CASE("the penalty pulls degrees down, at their own rate, and is no part of the loss that is reported") {
  const TokenizedDataset data = small_data(18, 4, 9);
  TrainerOptions options = accumulating_options();
  options.schedule = ScheduleType::constant;
  options.warmup_ratio = 0;
  options.max_grad_norm = 0;
  StepReport report, without;
  DistilBert model = span_model(3, span_config(1e6)), free = span_model(3, span_config(0));
  Trainer trainer(model, data, options), unpunished(free, data, options);
  while (!trainer.micro_step(report)) {
  }
  while (!unpunished.micro_step(without)) {
  }
  CHECK(report.loss == without.loss);
  CHECK(report.span_penalty == Approx(2.6e6));
  CHECK(without.span_penalty == 0);
  // AdamW's first step is as long as the rate, whatever the gradient.
  for (const auto& layer : model.spans())
    for (const double z : layer) CHECK(z == Approx(2.4).margin(1e-5));
  finish(trainer);
  for (const auto& layer : model.spans())
    for (const double z : layer) CHECK((z >= 0 && z < 2));
}

TEST_CASE("a penalty of any size does not clip the weights' gradients") {
  const TokenizedDataset data = small_data(18, 4, 9);
  TrainerOptions options = accumulating_options();
  options.warmup_ratio = 0;
  options.max_grad_norm = 0.01;  // clips
  StepReport report, without;
  DistilBert model = span_model(3, span_config(1e6)), free = span_model(3, span_config(0));
  Trainer trainer(model, data, options), unpunished(free, data, options);
  while (!trainer.micro_step(report)) {
  }
  while (!unpunished.micro_step(without)) {
  }
  CHECK(report.grad_norm > options.max_grad_norm);
  CHECK(report.grad_norm == without.grad_norm);
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    const Parameter& p = model.parameters()[i];
    INFO(p.name);
    if (!p.is_span) CHECK(same_bits(p.tensor, free.parameters()[i].tensor));
  }
  // Neither a gradient of degrees that is not finite goes unseen.
  DistilBert broken = span_model(3, span_config(1e300));
  Trainer diverging(broken, data, options);
  CHECK_THROWS_AS(finish(diverging), Diverged);
}

TEST_CASE("a directory of learned degrees holds no tensor that transformers does not know") {
  const TempDir directory;
  const TokenizedDataset data = small_data(22, 1, 9);
  DistilBert model = span_model();
  Trainer trainer(model, data, accumulating_options().trainer());
  finish(trainer);
  save_model(directory.path(), model, small_tokenizer(), small_max_length);
  const SafetensorsFile file = SafetensorsFile::open(directory / "model.safetensors");
  for (const TensorEntry& tensor : file.tensors()) CHECK_FALSE(contains(tensor.name, "span"));
  CHECK(file.tensors().size() + 3 == model.parameters().size());

  const LoadedModel loaded = load_model(directory.path(), {.vocab = "", .head_required = true});
  CHECK(loaded.notes.empty());
  CHECK(first_difference(loaded.model, weights_now(model)) == "");
  const Evaluation trained = evaluate(model, data, 4, Statistics::attention),
                   read = evaluate(loaded.model, data, 4, Statistics::none);
  for (size_t i = 0; i < trained.predictions.size(); ++i)
    CHECK(trained.predictions[i].logits == read.predictions[i].logits);

  // What a line of metrics.jsonl says of them.
  const nlohmann::json line = evaluation_json(trained, trainer);
  CHECK(line["spans"] == model.spans());
  for (size_t l = 0; l < 3; ++l) {
    CHECK(line["eval_layer_sparsity_requested"][l].dump() == "null");
    for (size_t h = 0; h < 3; ++h)
      CHECK(line["span_windows"][l][h] ==
            std::floor(model.spans()[l][h] + model.config().sparsity.span_ramp.value() / 2));
  }
  CHECK(line["eval_sparsity"] > 0.0);
}

TEST_CASE("a ramp follows the run's steps") {
  const TokenizedDataset data = small_data(24, 6, 12);
  TrainerOptions options = accumulating_options();
  options.gradient_accumulation_steps = 2;
  options.max_steps = 4;
  options.learning_rate = 0;  // so that a step's loss follows from its sparsity alone
  const auto losses = [&](double ramp, const std::string& sparsity) {
    DistilBertConfig config = small_run_config();
    SparsityOptions o;
    o.sparsity = sparsity;
    o.ramp = ramp;
    config.sparsity = make_sparsity(o, config.layers, 1);
    DistilBert model = small_run_model(config);
    Trainer trainer(model, data, options);
    std::vector<double> values;
    for (const StepReport& report : finish(trainer)) values.push_back(report.loss);
    return values;
  };
  const std::vector<double> ramp = losses(0.5, "0.8"), dense = losses(0, "0"), half = losses(0, "0.4"),
                            full = losses(0, "0.8");
  const std::vector<double> expected{dense[0], half[1], full[2], full[3]};
  CHECK(ramp == expected);
  for (size_t step = 0; step < 4; ++step) {
    CHECK(dense[step] != half[step]);
    CHECK(half[step] != full[step]);
  }
}
