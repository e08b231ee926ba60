#include <algorithm>
#include <cmath>
#include <limits>

#include "data/labels.h"
#include "engine/fail.h"
#include "model/sparsity.h"
#include "train/door/state.h"
#include "train/inference/device.h"
#include "train/inference/precision.h"

namespace crisp {
namespace door {
namespace {

// As many as the examples or the names say, at least two.
int64_t count_labels(const std::vector<FineTuner::Example>& train, const FineTuner::Options& o) {
  if (train.empty()) fail<UsageError>("there is nothing to train on: no example was given");
  const auto largest = std::max_element(train.begin(), train.end(), [](auto& a, auto& b) { return a.label < b.label; });
  const int64_t count = std::max<int64_t>(2, int64_t{largest->label} + 1);
  if (o.label_names.empty() && largest->label > largest_label)
    fail<UsageError>("training example {} has the label {}; without label_names there are labels from 0 to {}",
                     largest - train.begin() + 1, largest->label, largest_label);
  if (o.label_names.empty()) return count;
  const auto named = std::ssize(o.label_names);
  if (named < count) fail<UsageError>("label_names has {}, but the examples have {} labels", named, count);
  return named;
}

}  // namespace

FineTunerState::FineTunerState(const ModelSource& source, const std::vector<FineTuner::Example>& train,
                               const std::vector<FineTuner::Example>& evaluation, const FineTuner::Options& options)
    : options_(checked(tuner_settings(), options)),
      context_(context_settings(options.threads, options.precision, options.device)),
      loaded_(load(source, count_labels(train, options))) {
  loaded_.weights_path.clear();  // the weights are not to be that file's
  const Log log = log_or_nothing(options.log);
  for (const std::string& note : loaded_.notes) log(note);
  const SparsityConfig of_weights = loaded_.model.config().sparsity;
  loaded_.model.set_sparsity(make_sparsity(sparse_options(options), loaded_.model.config().layers, options.seed));
  if (const std::string note = note_lost_sparsity(of_weights, loaded_.model.config().sparsity); !note.empty())
    log(note);
  for (const bool training : {true, false})
    if (loaded_.model.config().sparsity.needs_parses(training))
      fail<UsageError>("sparse_method {} follows dependency parses; crisp-train takes them, the library not",
                       method_name(loaded_.model.config().sparsity.method));
  tokenizer_ = load_tokenizer(loaded_, options.max_length);
  for (const std::string& note : tokenizer_->notes()) log(note);
  max_length_ = options.max_length > 0 ? options.max_length : saved_max_length(loaded_);
  loaded_.tokenizer.model_max_length = max_length_;
  const Dataset labels = labelled(train, "training");
  if (loaded_.new_head && options.label_names.empty())
    if (const std::string gaps = describe_gaps(labels); !gaps.empty())
      fail<UsageError>("{}. Number them without gaps; if it is right, name all {} in label_names", gaps,
                       labels.num_labels);
  if (const std::string note = note_empty_classes(labels, labels.num_labels, "the model cannot learn it");
      !note.empty())
    log(note);
  train_ = tokenized(labels);
  if (train_->truncated() > 0)
    log(fmt::format("{} of {} training examples are longer than {} tokens and were cut", train_->truncated(),
                    train_->size(), max_length_));
  if (!evaluation.empty()) evaluation_ = tokenized(labelled(evaluation, "evaluation"));
  trainer_.emplace(loaded_.model, *train_, static_cast<const TrainerOptions&>(options), context_);
}

LoadedModel FineTunerState::load(const ModelSource& source, int64_t num_labels) const {
  const LoadModelOptions load{.dtype = dtype_for(options_.precision),
                              .device = device_for(options_.device),
                              .num_labels = num_labels,
                              .num_labels_from = options_.label_names.empty() ? "the examples have" : "label_names has",
                              .label_names = options_.label_names,
                              .dropout = options_.dropout,
                              .seed = options_.seed,
                              .new_head = options_.new_head,
                              .to_train = true};
  return source.files_ ? load_model(*source.files_, load) : load_model(source.path_, load);
}

Dataset FineTunerState::labelled(const std::vector<FineTuner::Example>& examples, const char* what) const {
  const auto labels = static_cast<int>(loaded_.model.config().num_labels);
  if (examples.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    fail<UsageError>("{} examples are more than a data set takes", examples.size());
  Dataset data{.path = what, .examples = {}, .num_labels = labels};
  data.examples.reserve(examples.size());
  for (const FineTuner::Example& e : examples) {
    if (e.label < 0 || e.label >= labels)
      fail<UsageError>("{} example {} has the label {}; there are labels from 0 to {}", what, data.examples.size() + 1,
                       e.label, labels - 1);
    data.examples.push_back({e.text, e.label});
  }
  return data;
}

TokenizedDataset FineTunerState::tokenized(const Dataset& data) const {
  return {data, *tokenizer_, max_length_, "", context_.threads()};
}

FineTuner::Step FineTunerState::step() {
  if (!broken_.empty()) fail<UsageError>("the training cannot go on: {}", broken_);
  if (trainer_->finished())
    fail<UsageError>("the training is finished: all {} steps are done", trainer_->total_steps());
  StepReport report;
  try {
    naming_settings([&] {
      while (!trainer_->micro_step(report)) {
      }
    });
  } catch (const std::exception& error) {
    broken_ = "an error";  // which takes no memory, should there be none
    broken_ = error.what();
    throw;
  }
  return {.step = trainer_->state().step,
          .total_steps = trainer_->total_steps(),
          .epoch = trainer_->epoch(),
          .loss = report.loss,
          .grad_norm = report.grad_norm,
          .learning_rate = report.learning_rate};
}

bool FineTunerState::evaluation_due() const {
  const TrainState& s = trainer_->state();
  if (!evaluation_ || s.last_evaluation == s.step) return false;
  if (trainer_->finished()) return true;
  return s.step > 0 && s.step % (options_.eval_steps > 0 ? options_.eval_steps : trainer_->steps_per_epoch()) == 0;
}

bool FineTunerState::run(FineTuner::Observer& observer) {
  for (;;) {
    if (evaluation_due()) {
      int64_t& last = trainer_->state().last_evaluation;
      FineTuner::Evaluation e;
      try {
        e = evaluate(*evaluation_);
      } catch (const Diverged&) {
        last = trainer_->state().step;  // its result is known: steps go on, if they can
        throw;
      }
      last = e.step;
      if (!observer.on_evaluation(e)) return false;
    }
    if (trainer_->finished()) return true;
    if (!observer.on_step(step())) return false;
  }
}

FineTuner::Evaluation FineTunerState::evaluate(const TokenizedDataset& data) {
  const Evaluation e = naming_settings([&] {
    try {
      Evaluation made =
          crisp::evaluate(trainer_->model(), data, options_.eval_batch_size, Statistics::none, {}, context_);
      if (!std::isfinite(made.loss)) throw NotFinite(fmt::format("the loss is {}", made.loss));
      return made;
    } catch (const NotFinite& error) {
      explain(error);
    }
  });
  return {.step = trainer_->state().step, .correct = e.correct, .total = e.total, .loss = e.loss};
}

// An evaluation changes nothing: what it finds ends a training whose weights are no numbers any more, and no other.
void FineTunerState::explain(const NotFinite& error) {
  const std::string broken = describe_broken_weights(loaded_);
  std::string what = fmt::format("{} after step {}", error.what(), trainer_->state().step);
  if (!broken.empty()) what += ": " + broken;
  if (trainer_->state().step > 0) what += "\nTry a lower --learning-rate or a longer warmup";
  if (!broken.empty()) broken_ = with_names_of_here(what);
  fail<Diverged>("{}", what);
}

FineTuner::Evaluation FineTunerState::evaluate(const std::vector<FineTuner::Example>& examples) {
  if (examples.empty()) fail<UsageError>("there is nothing to evaluate: no example was given");
  return evaluate(tokenized(labelled(examples, "evaluation")));
}

std::unique_ptr<ClassifierState> FineTunerState::classifier() {
  LoadedModel copy{
      .model = trainer_->model().clone(), .source = "the fine-tuned model", .tokenizer = loaded_.tokenizer};
  return std::make_unique<ClassifierState>(std::move(copy), options_);
}

void FineTunerState::save(const std::string& directory, bool replace) {
  save_model_as_one(directory, trainer_->model(), loaded_.tokenizer, max_length_, replace);
}

ModelFiles FineTunerState::save_to_memory() {
  ModelFiles files;
  for (auto& [name, content] : save_model(trainer_->model(), loaded_.tokenizer, max_length_))
    files.emplace(name, std::move(content));
  return files;
}

}  // namespace door

FineTuner::FineTuner(const ModelSource& source, const std::vector<Example>& train,
                     const std::vector<Example>& evaluation, const Options& options)
    : state_(door::naming_settings(
          [&] { return std::make_unique<door::FineTunerState>(source, train, evaluation, options); })) {}
FineTuner::FineTuner(FineTuner&&) noexcept = default;
FineTuner& FineTuner::operator=(FineTuner&&) noexcept = default;
FineTuner::~FineTuner() = default;

int64_t FineTuner::total_steps() const { return state_->trainer().total_steps(); }
int64_t FineTuner::steps_done() const { return state_->trainer().state().step; }
bool FineTuner::finished() const { return state_->trainer().finished(); }
FineTuner::Step FineTuner::step() { return state_->step(); }
bool FineTuner::run(Observer& observer) { return state_->run(observer); }
void FineTuner::run() {
  Observer nobody;
  run(nobody);
}
FineTuner::Evaluation FineTuner::evaluate(const std::vector<Example>& examples) { return state_->evaluate(examples); }
Classifier FineTuner::classifier() { return Classifier(state_->classifier()); }
void FineTuner::save(const std::string& directory, bool replace) { state_->save(directory, replace); }
ModelFiles FineTuner::save_to_memory() { return state_->save_to_memory(); }

}  // namespace crisp
