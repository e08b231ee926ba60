// A small training run for the tests of the trainer: vocabulary, sentences, model, options.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "data/batch.h"
#include "data/tokenizer_files.h"
#include "data/wordpiece.h"
#include "tests/support/catch.h"
#include "tests/support/small_model.h"
#include "train/core/trainer.h"
#include "train/run/train_options.h"

namespace crisp::test {

constexpr int small_max_length = 40;

inline std::vector<std::string> small_vocabulary() {
  std::vector<std::string> tokens{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  for (int i = 0; i < 45; ++i) tokens.push_back(fmt::format("w{}", i));
  return tokens;
}

/// The tokenizer that they make, as it is saved.
inline TokenizerFiles small_tokenizer() {
  return {.path = "vocab.txt", .vocabulary = {small_vocabulary(), small_vocabulary().size()}};
}

/// Batches of 3; of 22 examples that is 8 an epoch, in optimizer steps of 3, 3 and 2 micro-batches, and `micro_steps`
/// in all.
inline TrainOptions accumulating_options() {
  TrainOptions options;
  options.batch_size = 3;
  options.gradient_accumulation_steps = 3;
  options.epochs = 2;
  options.learning_rate = 1e-2;
  return options;
}
constexpr int micro_steps = 16;

/// `examples` random sentences of `shortest` to `longest` words, labelled 0 and 1 in turn.
inline TokenizedDataset small_data(int examples, int shortest, int longest) {
  const WordPiece tokenizer = WordPiece::from_tokens(small_vocabulary());
  Dataset dataset{.path = "sentences", .examples = {}, .num_labels = 2};
  uint64_t element = 0;
  const auto draw = [&](int n) {
    return static_cast<int>(random_word({.seed = 5}, element++) % static_cast<uint32_t>(n));
  };
  for (int i = 0; i < examples; ++i) {
    std::string text;
    for (int words = shortest + draw(longest - shortest + 1); words > 0; --words) text += fmt::format("w{} ", draw(45));
    dataset.examples.push_back({text, i % 2});
  }
  return {dataset, tokenizer, small_max_length};
}

/// A model that exercises everything that a step can do: dropout everywhere and sparse attention.
inline DistilBertConfig small_run_config() {
  DistilBertConfig config = small_config();
  config.vocab_size = static_cast<int64_t>(small_vocabulary().size());
  config.max_positions = small_max_length;
  config.num_labels = 2;
  config.initializer_range = 0.2;
  config.dropout = config.attention_dropout = config.classifier_dropout = 0.1;
  config.sparsity = parse_sparsity("0.5", config.layers);
  return config;
}

/// With a sparsity that suits the method.
inline DistilBertConfig small_sparse_config(SparseMethod method) {
  DistilBertConfig config = small_run_config();
  SparsityOptions o;
  o.method = method;
  if (method == SparseMethod::learned_span) {
    o.span_penalty = 0.1;
  } else {
    o.sparsity = "0.5";
  }
  config.sparsity = make_sparsity(o, config.layers, 1);
  return config;
}

inline DistilBert small_run_model(const DistilBertConfig& config, DType dtype = DType::f32) {
  DistilBert model(config, dtype, test_device());
  model.initialise(3);
  return model;
}

/// Of a run of epochs with a rate of 1e-3.
inline TrainerOptions options_for(int64_t batch_size, int64_t accumulation, double epochs) {
  TrainerOptions options;
  options.batch_size = batch_size;
  options.gradient_accumulation_steps = accumulation;
  options.epochs = epochs;
  options.learning_rate = 1e-3;
  return options;
}

/// Copies of all parameters.
inline std::vector<Tensor> weights_now(const DistilBert& model) {
  std::vector<Tensor> copies;
  for (const Parameter& p : model.parameters()) copies.push_back(p.tensor.detach().clone());
  return copies;
}

/// The name of the first parameter that differs by a bit; empty when none does.
inline std::string first_difference(const DistilBert& model, const std::vector<Tensor>& expected) {
  for (size_t i = 0; i < expected.size(); ++i)
    if (!same_bits(model.parameters()[i].tensor, expected[i])) return model.parameters()[i].name;
  return "";
}

/// Micro-steps until the run is finished; the reports of the optimizer steps.
inline std::vector<StepReport> finish(Trainer& trainer) {
  std::vector<StepReport> reports;
  StepReport report;
  while (!trainer.finished())
    if (trainer.micro_step(report)) reports.push_back(report);
  return reports;
}

/// Where a run is, but for its time.
inline void same_state(const TrainState& a, const TrainState& b) {
  CHECK(a.step == b.step);
  CHECK(a.micro_step == b.micro_step);
  CHECK(a.accumulated == b.accumulated);
  CHECK(a.loss_sum == b.loss_sum);
  CHECK(a.pending_loss == b.pending_loss);
  CHECK(a.loss_count == b.loss_count);
  CHECK(a.total_loss_sum == b.total_loss_sum);
}

}  // namespace crisp::test
