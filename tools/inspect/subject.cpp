#include "tools/inspect/subject.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "data/batch.h"
#include "data/input/file.h"
#include "data/input/parse_text.h"
#include "data/input/text.h"
#include "engine/fail.h"
#include "engine/ops.h"
#include "tools/nearest.h"
#include "train/durable/console.h"
#include "train/inference/limits.h"
#include "train/inference/to_batch.h"
#include "weights/file_changes.h"
#include "weights/hub_cache.h"
#include "weights/published.h"

namespace crisp::inspect {
namespace {

// Before anything is loaded: with the sparsity that was asked for, where one was.
LoadedModel load(const SubjectOptions& options, DType dtype) {
  check_model_exists(model_or_weights(options.model, options.weights));
  LoadedModel loaded = load_model(model_or_weights(options.model, options.weights),
                                  {.vocab = options.vocab, .dtype = dtype, .device = device_for(options.device)});
  for (const std::string& note : loaded.notes) say("note: {}", note);
  if (any_sparsity_given(*options.app))
    loaded.model.set_sparsity(
        make_sparsity(options.sparse, loaded.model.config().layers, static_cast<uint64_t>(options.seed)));
  return loaded;
}

WordPiece tokenizer_of(const LoadedModel& loaded, int64_t max_length) {
  WordPiece tokenizer = load_tokenizer(loaded, max_length);
  for (const std::string& note : tokenizer.notes()) say("note: {}", note);
  return tokenizer;
}

}  // namespace

bool any_sparsity_given(const CLI::App& app) { return !first_given(app, sparse_group).empty(); }

void add_model_options(CLI::App& app, std::string& model, std::string& weights) {
  add_text(app, "model", model, "directory of a model, maybe in the cache of models", "DIR|NAME");
  add_text(app, "weights", weights, "a safetensors file, with what lies beside it", "FILE");
}

const std::string& model_or_weights(const std::string& model, const std::string& weights) {
  if (model.empty() == weights.empty())
    fail<UsageError>("give either --model DIR or --weights FILE{}", model.empty() ? "" : ", not both");
  return model.empty() ? weights : model;
}

void check_model_exists(const std::string& model) {
  if (input_exists(model) || !find_in_hub_cache(model).empty()) return;
  const std::string directory = parent_directory(model);
  if (published_directory(directory) != directory) return;  // the file may be about to come
  fail<BadInput>("{}{}", explain_missing_model(model), did_you_mean_path(model));
}

void add_subject_options(CLI::App& app, SubjectOptions& options) {
  options.app = &app;
  required(add_positional(app, "TEXT", options.text, "the sentence to look at"));
  add_model_options(app, options.model, options.weights);
  add_text(app, "vocab", options.vocab, "vocabulary (vocab.txt or tokenizer.json); default: what lies beside the model",
           "FILE");
  add_integer(app, "max-length", options.max_length, 0, longest_sentence, "tokens at most; 0: as in training");
  add_threads(app, options);
  add_text(app, "parses", options.parses, "CoNLL-U with the sentence, for --sparse-method syntax", "FILE");
  add_flag(app, "training", options.training, "as in training: dropout (of --seed), learned spans with soft edges");
  add_integer(app, "seed", options.seed, 0, INT64_MAX, "of dropout and random connections");
  add_device(app, options);
  add_sparse_options(app, options.sparse, "the model's");
}

void add_objective_options(CLI::App& app, SubjectOptions& options) {
  add_text(app, "label", options.label, "take the cross-entropy of this label; default: of the predicted one",
           "N|NAME");
  const auto parse = [&options](const std::string& text) -> std::string {
    options.logit = parse_number<int64_t>(text);
    return options.logit && *options.logit >= 0 ? "" : "must be a whole number from 0 on, not '" + text + "'";
  };
  add_parsed(app, "logit", "N", "", parse, "take this logit instead of a loss");
}

std::string short_name(std::string_view name) {
  std::string_view rest = name;
  for (const std::string_view part : {"distilbert.", "transformer."})
    if (rest.starts_with(part)) rest.remove_prefix(part.size());
  return std::string(rest);
}

std::string headline(const Subject& subject, double value) {
  return fmt::format("f = {}\nat {}: {:.12g}\nattention {}\n", subject.objective_name(), quote(subject.text(), 50),
                     value, subject.config().sparsity.describe());
}

Subject::Subject(const SubjectOptions& options, DType dtype)
    : options_(options),
      context_({.threads = static_cast<int>(options.threads)}),
      loaded_(load(options, dtype)),
      tokenizer_(tokenizer_of(loaded_, options.max_length)) {
  const int max_length = options.max_length > 0 ? static_cast<int>(options.max_length) : saved_max_length(loaded_);
  tokens_ = tokenizer_.encode_with_offsets(options.text, max_length);
  const bool parsed = config().sparsity.needs_parses(options.training);
  if (parsed && options.parses.empty())
    fail<UsageError>("attention follows dependency parses; give --parses FILE with that of the sentence");
  Dataset one;
  one.path = "the text";
  one.examples.push_back({options.text, -1});
  const TokenizedDataset data(one, tokenizer_, max_length, parsed ? options.parses : "", context_.threads());
  if (data.truncated() > 0) say("note: the text is longer than {} tokens and was cut", max_length);
  PackedBatch packed;
  const int32_t first = 0;
  fill_batch(data, std::span(&first, 1), packed);
  batch_.emplace(to_batch(packed, loaded_.model, Labels::without));
  choose_objective();
}

std::vector<std::string> Subject::pieces() const {
  std::vector<std::string> pieces;
  for (const TokenSpan& token : tokens_) pieces.push_back(tokenizer_.token(token.id));
  return pieces;
}

int Subject::exit_code() const {
  if (is_finite_) return 0;
  const std::string why = describe_broken_weights(loaded_);
  say("crisp-inspect: the model's answer is not finite{}{}", why.empty() ? "" : "; ", why);
  return 4;
}

Tensor Subject::logits(Tape& tape, std::vector<Tensor>* weights) const {
  ForwardMode with_weights = mode();
  with_weights.weights = weights;
  return model().forward(tape, batch(), with_weights);
}

void Subject::choose_objective() {
  const DistilBertConfig& c = config();
  if (options_.logit && !options_.label.empty()) fail<UsageError>("give either --label or --logit, not both");
  if (options_.logit && *options_.logit >= c.num_labels)
    fail<UsageError>("--logit {}: the model has {} (0 to {})", *options_.logit, c.num_labels, c.num_labels - 1);
  std::vector<std::string> names;
  for (int64_t i = 0; i < c.num_labels; ++i) names.push_back(c.label_name(i));
  Tape tape(context_, Tape::Mode::inference);
  const std::vector<double> values = logits(tape).to_vector();
  is_finite_ = std::all_of(values.begin(), values.end(), [](double x) { return std::isfinite(x); });
  const auto largest = std::max_element(values.begin(), values.end()) - values.begin();
  const bool softmax = c.head_function() == HeadFunction::softmax;
  if (options_.logit || ((!softmax || options_.logit_by_default) && options_.label.empty())) {
    objective_.logit = options_.logit.value_or(largest);
    objective_name_ =
        fmt::format("logit {} ({})", objective_.logit, printable(names[static_cast<size_t>(objective_.logit)]));
    return;
  }
  if (!softmax) fail<UsageError>("--label: this model's head is no softmax over labels; give --logit N");
  int64_t label = largest;
  if (!options_.label.empty()) {
    const auto by_name = std::find(names.begin(), names.end(), options_.label);
    const std::optional<int64_t> number = parse_number<int64_t>(options_.label);
    label = by_name != names.end() ? by_name - names.begin() : number.value_or(-1);
    if (label < 0 || label >= c.num_labels)
      fail<UsageError>("--label {}: no label of the model, which has 0 to {}{}", options_.label, c.num_labels - 1,
                       did_you_mean(options_.label, names));
  }
  objective_.label = static_cast<int32_t>(label);
  objective_name_ = fmt::format("cross-entropy of label {} ({})", label, printable(names[static_cast<size_t>(label)]));
}

Tensor Subject::objective(Tape& tape, std::vector<Tensor>* weights) const {
  const Tensor value = objective_.of(tape, logits(tape, weights));
  const Tensor penalty = objective_.label && mode().training ? model().span_penalty(tape) : Tensor();
  return penalty ? add(tape, value, penalty) : value;
}

}  // namespace crisp::inspect
