// A training run in progress: the loop around Trainer with evaluation, checkpoints, logs and signals.
#pragma once

#include <cstdint>
#include <future>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/batch.h"
#include "data/dataset.h"
#include "engine/error.h"
#include "train/core/trainer.h"
#include "train/durable/checkpoint_store.h"
#include "train/durable/interrupt.h"
#include "train/durable/metrics.h"
#include "train/durable/output_directory.h"
#include "train/durable/tensorboard.h"
#include "train/inference/evaluate.h"
#include "train/inference/model_files.h"
#include "train/run/progress.h"
#include "train/run/train_options.h"

namespace crisp {

/// The names of the files that a run writes at the top of its directory.
std::vector<std::string> run_file_names();

/// What a run is made of; all of it must outlive the Session.
struct RunParts {
  const TrainOptions& options_;
  LoadedModel& loaded_;
  std::future<std::string> weights_sha256_;  // of the weights' file, being computed; not valid() for random weights
  const Dataset& dev_set_;
  const TokenizedDataset &train_, &dev_;
  const TokenizedDataset* selection_;  // what the best evaluation is chosen on; nullptr: on dev
  const Context& context_;
  OutputDirectory& output_;  // decides whether the run resumes
  Progress& progress_;
};

class Session : RunParts {
 public:
  explicit Session(RunParts parts);

  /// Trains to the end, or until a signal. Returns the exit code: 0, or that of the signal after a checkpoint was
  /// written, from which the run goes on to the same bits, an evaluation that was cut included.
  int go(InterruptHandler& signals);

 private:
  // What a run does at an evaluation: the model on dev, and on the part of the training set that is for choosing.
  struct RunEvaluation {
    Evaluation evaluation = {};        // on dev
    nlohmann::ordered_json line = {};  // of metrics.jsonl
    double accuracy = 0;               // that decides which is the best
  };
  // Both throw Interrupted, with the trainer as it was, soon after interrupted() is set. `what`: the data's name in the
  // progress.
  RunEvaluation evaluate_run();
  Evaluation evaluate_on(const TokenizedDataset& data, const std::string& what, Statistics statistics);

  void open_logs();
  void start_without_checkpoint();
  std::string results_path() const;
  nlohmann::ordered_json read_results() const;
  bool ended() const { return trainer_.finished() || stop_early(); }
  [[noreturn]] void explain_divergence(const Diverged& divergence);
  const std::string& fingerprint();
  nlohmann::ordered_json settings();
  void describe_run();
  void report_outcome();
  void train();
  void log_step(const StepReport& report);
  void evaluate_now();
  void finish_step();
  void publish();
  void save();
  void prune();
  void save_if_asked();
  bool saved() const { return saved_ == position(); }
  /// What tells apart the states that a checkpoint is of.
  std::pair<int64_t, int64_t> position() const {
    return {trainer_.state().micro_step, trainer_.state().last_evaluation};
  }
  int leave(int signal);
  void write_results();
  bool stop_early() const {
    return options_.early_stopping_patience > 0 &&
           trainer_.state().evaluations_without_gain >= options_.early_stopping_patience;
  }
  bool evaluation_due() const;
  bool numbers_due() const;
  bool at_multiple_of(int64_t steps) const { return steps > 0 && trainer_.state().step % steps == 0; }
  double rate() const { return timed_seconds_ > 0 ? static_cast<double>(timed_tokens_) / timed_seconds_ : 0; }
  void write_metrics(const nlohmann::ordered_json& line);

  Trainer trainer_;
  CheckpointStore store_;
  std::string fingerprint_;  // empty until it is needed
  std::optional<double> startup_seconds_;
  std::optional<MetricsLog> metrics_;
  std::optional<TensorBoardWriter> events_;
  int64_t timed_tokens_ = 0;  // since the last log line
  double timed_seconds_ = 0;
  double last_loss_ = std::numeric_limits<double>::quiet_NaN();
  std::optional<RunEvaluation> selected_;      // not yet written as the output directory's model
  std::pair<int64_t, int64_t> saved_{-1, -1};  // the position() of the newest checkpoint
  bool complete_ = false;                      // the run had ended before this process began
  nlohmann::ordered_json last_evaluation_ = nlohmann::ordered_json::object();
};

}  // namespace crisp
