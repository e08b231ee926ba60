// A run's training once more, from one of its checkpoints or from its weights: the same bits on the same kernels.
// Nothing is written.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/dataset.h"
#include "data/wordpiece.h"
#include "engine/context.h"
#include "train/core/trainer.h"
#include "train/inference/model_files.h"
#include "train/run/train_options.h"

namespace crisp {

struct ReplayOptions {
  std::string run;           // a run's directory, or one of its checkpoints
  std::string data, parses;  // where these are now, a file or a folder; "": where the run found them
  std::string weights;       // the same of what it started from
  /// Of a run: the newest state before this optimizer step, counted from 1.
  int64_t before_step = std::numeric_limits<int64_t>::max();
  int64_t threads = 0;
  DeviceChoice device = DeviceChoice::cpu;
};

/// The options of a training that the "settings" of a run tell (run_fingerprint(), and those of all_results.json where
/// they are there). Throws BadInput, naming `where`.
TrainOptions options_from_settings(const nlohmann::json& settings, const std::string& where);

/// Does not move: the trainer refers to the rest.
class Replay {
 public:
  /// Throws BadInput where there is no such run or state, or the sentences or weights are not the run's, UsageError
  /// where what a run knows of its files does not suffice.
  explicit Replay(const ReplayOptions& options);
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  /// At the state from which the run goes on.
  Trainer& trainer() { return *trainer_; }
  const Context& context() const { return *context_; }
  const DistilBert& model() const { return loaded_->model; }
  const TokenizedDataset& data() const { return *data_; }
  const WordPiece& tokenizer() const { return *tokenizer_; }
  /// What an example of data() was in its file, and where it stands there.
  const Example& example(int32_t i) const { return sentences_.examples[original(i)]; }
  std::string place(int32_t i) const { return sentences_.place(original(i)); }
  /// The file of the training sentences.
  const std::string& data_path() const { return options_.train; }
  /// Where the state is from: "out/checkpoint-48", or the weights that the run started from.
  const std::string& origin() const { return origin_; }
  bool from_checkpoint() const { return !checkpoint_.empty(); }
  /// For the user: what was passed over or assumed, and what makes the bits differ.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  size_t original(int32_t i) const { return static_cast<size_t>(split_[static_cast<size_t>(i)]); }
  void find_state(const ReplayOptions& options);
  void find_files(const ReplayOptions& options);
  void read_sentences();
  void load();

  std::string run_, checkpoint_, origin_;  // directories; no checkpoint: from the start
  std::string started_in_;                 // by which relative paths of the run go
  TrainOptions options_;
  std::string settings_;  // as JSON text
  std::vector<std::string> notes_;
  std::optional<Context> context_;
  Dataset sentences_;
  std::vector<int32_t> split_;  // examples of the file that are trained on
  std::optional<LoadedModel> loaded_;
  std::optional<WordPiece> tokenizer_;
  std::optional<TokenizedDataset> data_;
  std::optional<Trainer> trainer_;
};

}  // namespace crisp
