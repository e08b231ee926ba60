// A training run in progress: the loop around Trainer with evaluation, checkpoints, logs and signals.
#pragma once

#include <cstdint>
#include <future>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/dataset.h"
#include "engine/error.h"
#include "train/checkpoint_store.h"
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
          const TokenizedDataset* selection, OutputDirectory& output, Progress& progress);

  /// Trains to the end, or until a signal. Returns the exit code: 0, or 130/143 after a checkpoint was written.
  int go();

 private:
  struct Evaluated {
    Evaluation evaluation;        // on dev
    nlohmann::ordered_json line;  // of metrics.jsonl
    double accuracy;              // that decides which is the best
  };

  void open_logs();
  void start_without_checkpoint();
  nlohmann::ordered_json read_results() const;
  bool ended() const { return trainer_.finished() || stop_early(); }
  [[noreturn]] void explain_divergence(const Diverged& divergence) const;
  const std::string& fingerprint();
  nlohmann::ordered_json settings();
  void report_outcome();
  bool train_until_done_or_stopped();
  void log_step(const StepReport& report);
  Evaluated evaluated();
  void evaluate_now();
  void publish();
  void save();
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
  const TokenizedDataset* selection_;
  OutputDirectory& output_;
  Progress& progress_;
  Trainer trainer_;
  CheckpointStore store_;
  std::future<std::string> weights_sha256_;
  std::string fingerprint_;  // empty until it is needed
  std::optional<double> startup_seconds_;
  std::optional<MetricsLog> metrics_;
  std::optional<TensorBoardWriter> events_;
  int64_t timed_tokens_ = 0;  // since the last log line
  double timed_seconds_ = 0;
  double last_loss_ = std::numeric_limits<double>::quiet_NaN();
  std::optional<Evaluated> selected_;  // not yet written as the output directory's model
  bool complete_ = false;              // the run had ended before this process began
  nlohmann::ordered_json last_evaluation_ = nlohmann::ordered_json::object();
};

}  // namespace crisp
