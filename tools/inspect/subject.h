// What most commands look at: a model and one text, and what becomes of the text in it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/wordpiece.h"
#include "engine/context.h"
#include "model/batch.h"
#include "tools/options.h"
#include "train/inference/model_files.h"
#include "train/inference/objective.h"

namespace crisp::inspect {

struct SubjectOptions {
  std::string model, weights;  // one of them is given
  std::string text, vocab, parses;
  int64_t max_length = 0, threads = 0, seed = 0;
  bool training = false;
  DeviceChoice device = DeviceChoice::cpu;
  SparsityOptions sparse = {};
  CLI::App* app = nullptr;  // whose options they are
  std::string label = {};   // a number or a name; "": what the model predicts
  std::optional<int64_t> logit = {};
  bool logit_by_default = false;  // where neither is given, the logit of the predicted label instead of a loss
};

/// TEXT, --model DIR or --weights FILE, --vocab, --max-length, --threads, --parses, the options of sparse attention (in
/// place of the model's own), --training, --seed and --device.
void add_subject_options(CLI::App& app, SubjectOptions& options);
/// --label and --logit: what a gradient is the gradient of.
void add_objective_options(CLI::App& app, SubjectOptions& options);

/// Whether the command line has any option of sparse attention.
bool any_sparsity_given(const CLI::App& app);

/// --model or --weights alone.
void add_model_options(CLI::App& app, std::string& model, std::string& weights);
/// The one that was given. Throws UsageError for none or both.
const std::string& model_or_weights(const std::string& model, const std::string& weights);
/// Throws BadInput, with what has the nearest name, when a model is neither a path nor in the cache of models.
void check_model_exists(const std::string& model);

class Subject;
/// What f is, its value at the text, and which attention computes it: three lines.
std::string headline(const Subject& subject, double value);

/// A parameter's name without what all have: "layer.2.ffn.lin1.weight" of
/// "distilbert.transformer.layer.2.ffn.lin1.weight".
std::string short_name(std::string_view name);

/// A model, a text and the batch of it alone. Does not move: what it gives out refers to it.
class Subject {
 public:
  /// `dtype` of the model's numbers. Prints notes of loading on standard error. Throws UsageError and BadInput.
  Subject(const SubjectOptions& options, DType dtype);
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;

  const LoadedModel& loaded() const { return loaded_; }
  const DistilBert& model() const { return loaded_.model; }
  const DistilBertConfig& config() const { return loaded_.model.config(); }
  const WordPiece& tokenizer() const { return tokenizer_; }
  const Context& context() const { return context_; }
  const std::string& text() const { return options_.text; }
  const std::vector<TokenSpan>& tokens() const { return tokens_; }
  /// "[CLS]", "un", "##believ", ...
  std::vector<std::string> pieces() const;
  const Batch& batch() const { return *batch_; }
  /// As evaluation runs, or as the first training step does, with its dropout.
  ForwardMode mode() const { return {.training = options_.training, .seed = static_cast<uint64_t>(options_.seed)}; }

  /// 0, or 4, the exit code of what is not finite, when a logit is not; then says so, and where it begins.
  int exit_code() const;

  /// Logits [1, num_labels]; `weights` as in ForwardMode.
  Tensor logits(Tape& tape, std::vector<Tensor>* weights = nullptr) const;
  /// A number to take gradients of: the cross-entropy of a label (the given one, else the predicted one; with the
  /// penalty of learned spans in training), or one logit (the given one, else, where the head is no softmax or
  /// options.logit_by_default says so, the largest).
  Tensor objective(Tape& tape, std::vector<Tensor>* weights = nullptr) const;
  /// The same without that penalty, of logits.
  const Objective& objective_of_logits() const { return objective_; }
  /// Which: "cross-entropy of label 1 (positive)", "logit 0 (negative)".
  const std::string& objective_name() const { return objective_name_; }

 private:
  void choose_objective();

  const SubjectOptions options_;
  Context context_;
  LoadedModel loaded_;
  WordPiece tokenizer_;
  std::vector<TokenSpan> tokens_;
  std::optional<Batch> batch_;
  Objective objective_;
  std::string objective_name_;
  bool is_finite_ = true;  // all logits
};

}  // namespace crisp::inspect
