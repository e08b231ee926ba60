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
#include "train/checkpoint_store.h"
#include "train/evaluator.h"
#include "train/interrupt.h"
#include "train/metrics.h"
#include "train/model_files.h"
#include "train/output_directory.h"
#include "train/progress.h"
#include "train/tensorboard.h"
#include "train/trainer.h"

namespace crisp {

/// The names of the files that a run writes at the top of its directory.
std::vector<std::string> run_file_names();

/// What it is given must outlive it. `output` decides whether it resumes.
class Session {
 public:
  /// `weights_sha256`: of the weights' file, being computed; not valid() for random weights. `selection`: what the best
  /// evaluation is chosen on; nullptr: `dev`.
  Session(const TrainOptions& options, LoadedModel& loaded, std::future<std::string> weights_sha256,
          const Dataset& dev_set, const TokenizedDataset& train, const TokenizedDataset& dev,
          const TokenizedDataset* selection, const Context& context, OutputDirectory& output, Progress& progress);

  /// Trains to the end, or until a signal. Returns the exit code: 0, or that of the signal after a checkpoint was
  /// written, from which the run goes on to the same bits, an evaluation that was cut included.
  int go(InterruptHandler& signals);

 private:
  void open_logs();
  void start_without_checkpoint();
  std::string results_path() const;
  nlohmann::ordered_json read_results() const;
  bool ended() const { return trainer_.finished() || stop_early(); }
  [[noreturn]] void explain_divergence(const Diverged& divergence) const;
  const std::string& fingerprint();
  nlohmann::ordered_json settings();
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
  double rate() const { return timed_seconds_ > 0 ? static_cast<double>(timed_tokens_) / timed_seconds_ : 0; }
  void write_metrics(const nlohmann::ordered_json& line);

  const TrainOptions& options_;
  LoadedModel& loaded_;
  const Dataset& dev_set_;
  const TokenizedDataset &train_, &dev_;
  const bool chooses_on_part_;  // of the training set, and not on dev
  OutputDirectory& output_;
  Progress& progress_;
  Trainer trainer_;
  Evaluator evaluator_;
  CheckpointStore store_;
  std::future<std::string> weights_sha256_;
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
