// Everything that can be chosen about a training run, with its default. Plain data; train_settings()
// declares names and ranges.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/sparsity.h"
#include "train/core/trainer_options.h"
#include "train/inference/device.h"
#include "train/inference/precision.h"

namespace crisp {

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
