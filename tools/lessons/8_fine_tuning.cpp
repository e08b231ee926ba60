// Lesson 8: fine-tuning: all of the lessons before, in a model with a task.
//
// Read beside it: train/core/trainer.h. README.md leads through.
#include <fmt/format.h>

#include <exception>
#include <string>
#include <vector>

#include "engine/gradcheck.h"
#include "train/core/trainer.h"
#include "train/inference/evaluate.h"
#include "train/inference/model_files.h"
#include "train/inference/to_batch.h"

using namespace crisp;

namespace {
constexpr int max_length = 32;  // tokens of a sentence

TokenizedDataset read(const std::string& path, size_t sentences, const WordPiece& tokenizer) {
  Dataset dataset = read_dataset(path);
  dataset.examples.resize(sentences);
  return {dataset, tokenizer, max_length};
}

// Along one random direction through all parameters: is the gradient of the loss of four sentences right?
bool gradient_is_right(const DistilBert& model, const TokenizedDataset& data) {
  PackedBatch packed;
  fill_batch(data, std::vector<int32_t>{0, 1, 2, 3}, packed);
  const Batch batch = to_batch(packed, model, Labels::with);
  std::vector<Tensor> parameters;
  for (const Parameter& p : model.parameters()) parameters.push_back(p.tensor);
  const auto loss = [&](Tape& t) { return cross_entropy(t, model.forward(t, batch, {}), batch.labels()); };
  return check_directional(loss, parameters, 1).passes(1e-6);
}

int claims_wrong = 0;

void claim(bool holds, const char* what) {
  fmt::print("{} {}\n", holds ? "ok   " : "WRONG", what);
  claims_wrong += holds ? 0 : 1;
}

Evaluation measure(const char* when, const DistilBert& model, const TokenizedDataset& data) {
  Evaluation e = evaluate(model, data, 50, Statistics::attention);
  fmt::print("{:6}   loss {:.3f}   {} of {} right, {:.0f} % of the scores removed\n", when, e.loss, e.correct, e.total,
             100 * e.layers.front().effective);
  return e;
}

void fine_tune(const std::string& root) {
  // f64, so that all machines print the same digits; usually it is f32.
  LoadedModel loaded = load_model(root + "/weights/sample", {.dtype = DType::f64, .num_labels = 2, .seed = 1});
  const WordPiece tokenizer = load_tokenizer(loaded, max_length);
  const TokenizedDataset train = read(root + "/data/sample/train.tsv", 800, tokenizer);
  const TokenizedDataset dev = read(root + "/data/sample/dev.tsv", 100, tokenizer);
  claim(gradient_is_right(loaded.model, train), "the gradient of the whole model, along a random direction, to 1e-6\n");

  loaded.model.set_sparsity(parse_sparsity("0.8", loaded.model.config().layers));  // lesson 7, in every layer
  DistilBert copy = loaded.model.clone();
  const Evaluation before = measure("before", loaded.model, dev);
  TrainerOptions options;
  options.max_steps = 50;
  options.batch_size = 16;
  options.learning_rate = 1e-3;  // after a rise over the first five steps; then it falls to 0
  Trainer trainer(loaded.model, train, options);
  std::vector<double> losses;
  double mean = 0;
  while (!trainer.finished()) {
    StepReport report;
    trainer.micro_step(report);  // one batch, and here one step of the optimizer
    losses.push_back(report.loss);
    mean = (losses.size() % 10 == 1 ? 0 : mean) + report.loss / 10;
    if (losses.size() % 10 == 0) fmt::print("step {}  loss {:.3f}   mean of ten\n", losses.size(), mean);
  }
  const Evaluation after = measure("after", trainer.model(), dev);

  Dataset own;  // sentences that nobody has labelled
  own.examples = {{"A beautiful film, and the ending is superb."}, {"The plot is dull and the jokes fall flat."}};
  const Evaluation answers = evaluate(trainer.model(), {own, tokenizer, max_length}, 2, Statistics::none);
  for (size_t i = 0; i < own.examples.size(); ++i)
    fmt::print("{:2.0f} % positive: {}\n", 100 * answers.predictions[i].scores[1], own.examples[i].text);
  claim(after.loss < before.loss && after.correct > before.correct + 15, "it learned, from 800 sentences read once");
  Trainer again(copy, train, options);
  StepReport third;
  while (again.state().step < 3) again.micro_step(third);
  claim(third.loss == losses[2], "the same seed once more: the same bits");
}

}  // namespace

int main(int argc, char** argv) try {
  fine_tune(argc > 1 ? argv[1] : CRISP_SOURCE_ROOT);
  return claims_wrong;
} catch (const std::exception& e) {
  fmt::print(stderr, "8_fine_tuning: {}\n", e.what());
  return 1;
}
