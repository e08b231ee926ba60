// A model that answers: loaded with its tokenizer and the context that it computes in. crisp-predict and the library's
// Classifier (train/door) are made of it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "data/wordpiece.h"
#include "engine/context.h"
#include "train/inference/choices.h"
#include "train/inference/evaluate.h"
#include "train/inference/model_files.h"

namespace crisp {

struct PredictorOptions {
  std::string vocab = {};                // a vocab.txt or tokenizer.json; empty: what lies beside the weights
  int64_t threads = 0;                   // 0: all
  int64_t max_length = 0;                // tokens of a text; 0: as in training
  Precision precision = Precision::f32;  // f32: the numbers of the weights' file, f32 or f64
  DeviceChoice device = DeviceChoice::cpu;
  bool map_weights = true;  // of a file in the file system: LoadModelOptions::map_weights
};

/// What takes lines for the user as they come.
using NoteTaker = std::function<void(const std::string&)>;

/// The context of these options. Throws UsageError for a number of threads that is out of range or products that the
/// device lacks; Error where there is no such device.
Context::Settings context_settings(int64_t threads, Precision precision, DeviceChoice device);

/// Does not move: what it gives out refers to it. Any number of threads may ask it at the same time.
class Predictor {
 public:
  /// Loads a directory or file (load_model). A model without a classification head is refused. Throws as load_model(),
  /// load_tokenizer() and context_settings() do.
  Predictor(const std::string& file_or_directory, const PredictorOptions& options, const NoteTaker& note);
  /// From files that lie elsewhere than in the file system.
  Predictor(const InputFiles& input, const PredictorOptions& options, const NoteTaker& note);
  /// Of a model at hand; options.vocab is not looked at.
  Predictor(LoadedModel loaded, const PredictorOptions& options, const NoteTaker& note);
  Predictor(const Predictor&) = delete;
  Predictor& operator=(const Predictor&) = delete;

  const LoadedModel& loaded() const { return loaded_; }
  LoadedModel& loaded() { return loaded_; }
  const DistilBert& model() const { return loaded_.model; }
  const DistilBertConfig& config() const { return loaded_.model.config(); }
  const WordPiece& tokenizer() const { return *tokenizer_; }
  const Context& context() const { return context_; }
  /// Tokens of a text.
  int max_length() const { return max_length_; }

  /// Answers for all of `data`, of which `before` examples came earlier. Throws Diverged, saying what is broken in the
  /// weights, for an answer that is not finite.
  Evaluation answer(const TokenizedDataset& data, int batch_size, int64_t before = 0) const;

 private:
  void take_tokenizer(const PredictorOptions& options, const NoteTaker& note);

  Context context_;
  LoadedModel loaded_;
  std::optional<WordPiece> tokenizer_;
  int max_length_ = 0;
};

/// What an answer that is no number means for who has only asked: throws Diverged, naming what is broken in the
/// weights.
[[noreturn]] void explain_not_finite(const NotFinite& error, const LoadedModel& loaded);

}  // namespace crisp
