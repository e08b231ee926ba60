// The evaluations of a training run: shown as they go on, and given up when a signal asks for that.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "train/evaluate.h"
#include "train/progress.h"
#include "train/trainer.h"

namespace crisp {

/// What a run does at an evaluation: the model on the dev set, and where some part of the training set is for choosing
/// the best evaluation, on that, too.
struct RunEvaluation {
  Evaluation evaluation = {};        // on dev
  nlohmann::ordered_json line = {};  // of metrics.jsonl
  double accuracy = 0;               // that decides which is the best
};

/// What it is given must outlive it.
class Evaluator {
 public:
  /// `selection`: what the best evaluation is chosen on; nullptr: `dev`. `between_batches` is called after each batch.
  Evaluator(const TokenizedDataset& dev, const TokenizedDataset* selection, int64_t batch_size, Progress& progress,
            std::function<void()> between_batches)
      : dev_(dev),
        selection_(selection),
        batch_size_(static_cast<int>(batch_size)),
        progress_(progress),
        between_batches_(std::move(between_batches)) {}

  /// Both throw Interrupted, with the trainer as it was, soon after interrupted() is set.
  RunEvaluation evaluate_run(Trainer& trainer) const;
  /// On other data; `what` is its name in the progress.
  Evaluation evaluate_on(Trainer& trainer, const TokenizedDataset& data, const std::string& what,
                         Statistics statistics = Statistics::none) const;

 private:
  const TokenizedDataset& dev_;
  const TokenizedDataset* selection_;
  int batch_size_;
  Progress& progress_;
  std::function<void()> between_batches_;
};

}  // namespace crisp
