// What stands behind the library's objects (crisp/crisp.hpp).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/batch.h"
#include "data/input/setting.h"
#include "model/batch.h"
#include "train/core/trainer.h"
#include "train/door/crisp/crisp.hpp"
#include "train/inference/predictor.h"

namespace crisp::door {

/// A log that may be called.
Log log_or_nothing(const Log& log);
/// What a host may set, by the names of the programs' options: of a classifier, and of a tuner besides.
const Settings<Classifier::Options>& classifier_settings();
const Settings<FineTuner::Options>& tuner_settings();
/// By the library's name of it, "batch_size", or the programs', "batch-size"; nullptr for another.
const Setting<FineTuner::Options>* find_tuner_setting(const std::string& name);
/// What they say of sparse attention. Throws UsageError for a name that no setting has.
SparsityOptions sparse_options(const FineTuner::Options& options);

/// A message of what stands below the door, which names settings as command lines do, "--batch-size 0": as here,
/// "batch_size 0".
std::string with_names_of_here(std::string message);
/// In a catch clause: throws the exception again, with such a message.
[[noreturn]] void rethrow_with_names_of_here();
template <class F>
auto naming_settings(F&& f) -> decltype(f()) try {
  return f();
} catch (const Error&) {
  rethrow_with_names_of_here();
}

/// The options. Throws UsageError for what no model could take.
template <class Options>
const Options& checked(const Settings<Options>& settings, const Options& options) {
  for (const Setting<Options>& setting : settings)
    if (const std::string complaint = setting.complaint(options); !complaint.empty())
      throw UsageError(setting.key() + " " + complaint);
  return options;
}

/// Texts without labels as the model takes them.
TokenizedDataset tokenized(const std::vector<std::string>& texts, const WordPiece& tokenizer, int max_length,
                           int threads);

class ClassifierState {
 public:
  ClassifierState(const ModelSource& source, const Classifier::Options& options);
  /// Of a model at hand.
  ClassifierState(LoadedModel loaded, const Classifier::Options& options);

  const Predictor& predictor() const { return *predictor_; }
  Predictor& predictor() { return *predictor_; }
  int batch_size() const { return batch_size_; }
  /// A batch of one text.
  Batch batch(std::string_view text) const;
  /// Of the model, or of another that shares its weights. Throws UsageError for a name that none has.
  const Parameter& parameter(const std::string& name) const { return parameter(predictor_->model(), name); }
  static const Parameter& parameter(const DistilBert& model, const std::string& name);
  /// Throws UsageError for a label that the model has not.
  void check_label(int32_t label) const;

 private:
  void refuse_parses() const;

  const int batch_size_;
  std::optional<Predictor> predictor_;
};

class FineTunerState {
 public:
  FineTunerState(const ModelSource& source, const std::vector<FineTuner::Example>& train,
                 const std::vector<FineTuner::Example>& evaluation, const FineTuner::Options& options);

  FineTuner::Step step();
  bool run(FineTuner::Observer& observer);
  FineTuner::Evaluation evaluate(const std::vector<FineTuner::Example>& examples);
  std::unique_ptr<ClassifierState> classifier();
  const Trainer& trainer() const { return *trainer_; }
  void save(const std::string& directory, bool replace);
  ModelFiles save_to_memory();

 private:
  LoadedModel load(const ModelSource& source, int64_t num_labels) const;
  Dataset labelled(const std::vector<FineTuner::Example>& examples, const char* what) const;
  TokenizedDataset tokenized(const Dataset& data) const;
  FineTuner::Evaluation evaluate(const TokenizedDataset& data);
  [[noreturn]] void explain(const NotFinite& error);
  bool evaluation_due() const;

  const FineTuner::Options options_;
  const Context context_;
  LoadedModel loaded_;
  std::optional<WordPiece> tokenizer_;
  int max_length_ = 0;
  std::optional<TokenizedDataset> train_, evaluation_;
  std::optional<Trainer> trainer_;
  std::string broken_;  // why the training cannot go on; empty while it can
};

}  // namespace crisp::door
