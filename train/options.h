// Everything that can be chosen about a training run, with its default. Plain data: tools/options.h fills it from a
// command line, an embedding program fills it directly.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/sparsity.h"
#include "train/device.h"
#include "train/precision.h"
#include "train/schedule.h"

namespace crisp {

// What holds where TrainOptions does not say. The bundled sample is a small model with a new head on 2,000 sentences:
// it has values of its own, which run_training takes when it trains the sample.
constexpr double default_learning_rate = 2e-5, sample_learning_rate = 5e-4;
constexpr double default_epochs = 3, sample_epochs = 8;

// More is taken for a slip of the hand. The trainer counts micro-steps in 32 bits (they number the dropout masks).
constexpr int64_t largest_batch = 1'000'000;
constexpr int64_t most_steps = 1'000'000'000;
constexpr double most_epochs = 1e6;
constexpr int64_t longest_sentence = 1'000'000;  // the model's positions are the narrower limit
constexpr int64_t most_labels = 10'000;
constexpr int64_t most_threads = 1024;

/// What Trainer needs to know: the optimisation.
struct TrainerOptions {
  std::optional<double> epochs;         // may be a fraction: ceil(epochs * steps of an epoch) steps in all; unset: 3
  int64_t max_steps = 0;                // optimizer steps; above 0 it replaces `epochs`
  std::optional<double> learning_rate;  // at the schedule's peak; unset: 2e-5
  int64_t batch_size = 32;              // sequences of a micro-batch
  int64_t gradient_accumulation_steps = 1;  // micro-batches of an optimizer step
  ScheduleType schedule = ScheduleType::linear;
  double warmup_ratio = 0.1;   // of all steps
  int64_t warmup_steps = 0;    // above 0 it replaces `warmup_ratio`
  double weight_decay = 0.01;  // not on biases and LayerNorm
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double max_grad_norm = 1.0;  // 0: no clipping
  uint64_t seed = 42;          // of the order of the examples and of dropout

  double epochs_or_default() const { return epochs.value_or(default_epochs); }
  double learning_rate_or_default() const { return learning_rate.value_or(default_learning_rate); }
};

/// A whole run: files, model, optimisation, evaluation, checkpoints. Trainer does not take it, for it would leave out
/// what is not in TrainerOptions.
struct TrainOptions : TrainerOptions {
  // --- Files. Empty: not given.
  std::string weights;    // safetensors file or a Hugging Face directory; with `data` empty too: the bundled sample
  std::string init;       // start from random weights: "distilbert-base" or a config.json; excludes `weights`
  bool new_head = false;  // initialise the classification head even where the weights have one
  std::string data;       // a folder with train.tsv and dev.tsv
  std::string train;      // the training file alone; wins over `data`
  std::string dev;        // the evaluation file alone; wins over `data`
  int64_t max_train_samples = 0;  // the first N training examples; 0: all
  int64_t max_eval_samples = 0;   // the first N evaluation examples; 0: all
  std::string parses;             // CoNLL-U of the training sentences; empty: the one in `data`, if it is needed
  std::string dev_parses;         // CoNLL-U of the evaluation sentences; the same
  std::string vocab;              // vocab.txt; empty: the one beside the weights
  std::string output = "out";     // the directory that the run writes

  // --- Model.
  int64_t max_length = 0;                // tokens, [CLS] and [SEP] included; 0: as many as the model can
  std::optional<double> dropout;         // every dropout rate of the model; unset: config.json's
  int64_t num_labels = 0;                // 0: from the data
  std::vector<std::string> label_names;  // of the classes; empty: those of the weights' head or of the data
  SparsityOptions sparse;                // what attention keeps

  // --- Evaluation, logging, checkpoints. Steps are optimizer steps.
  int64_t eval_steps = 0;  // 0: at the end of each epoch
  int64_t eval_batch_size = 64;
  int64_t logging_steps = 50;
  int64_t save_steps = 0;               // 0: at each evaluation
  int64_t early_stopping_patience = 0;  // evaluations without a better accuracy; 0: off
  bool select_last = false;   // --select last: the directory holds the model of the last evaluation, not of the best
  double selection_part = 0;  // of the training set, carved out: the best evaluation is chosen on it; 0: on the dev set
  int64_t eval_train = 0;     // training sentences that are evaluated at the end, without dropout; 0: none
  bool keep_checkpoints = true;  // false: they are deleted when the run has completed
  bool resume = false;
  bool overwrite = false;

  // --- The machine.
  int64_t threads = 0;  // 0: all
  Precision precision = Precision::f32;
  DeviceChoice device = DeviceChoice::cpu;

  /// What of it a Trainer takes: the rest is for run_training, and for what it makes of the model and the data.
  const TrainerOptions& trainer() const { return *this; }
};

}  // namespace crisp
