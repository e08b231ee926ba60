#include "train/run/session.h"

#include <chrono>
#include <cmath>

#include "data/input/json.h"
#include "engine/backend.h"
#include "engine/fail.h"
#include "model/methods/method.h"
#include "train/durable/interrupt.h"
#include "train/durable/process_info.h"
#include "train/inference/precision.h"
#include "train/run/checkpoint.h"
#include "train/run/results.h"
#include "weights/atomic_file.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

std::vector<std::string> run_file_names() {
  std::vector<std::string> names = model_file_names();
  for (const char* name : {"metrics.jsonl", "dev_predictions.jsonl", "all_results.json"}) names.emplace_back(name);
  return names;
}

Session::Session(RunParts parts)
    : RunParts(std::move(parts)),
      trainer_(loaded_.model, train_, options_.trainer(), context_),
      store_(output_.path()) {
  trainer_.check_between_operations(leave_if_interrupted);
}

// Hashing the weights' file and the data takes a while, so the first step does not wait for it.
const std::string& Session::fingerprint() {
  if (fingerprint_.empty())
    fingerprint_ = run_fingerprint(options_, train_, dev_, loaded_.model.config(),
                                   weights_sha256_.valid() ? weights_sha256_.get() : "");
  return fingerprint_;
}

void Session::open_logs() {
  const std::string path = output_.file("metrics.jsonl");
  std::vector<std::string> damaged;
  std::optional<Checkpoint> checkpoint;
  if (output_.holds_run()) {
    checkpoint = store_.newest_valid(&damaged);
    for (const std::string& line : damaged) progress_.message("passing over a damaged checkpoint: " + line);
  }
  if (!checkpoint) {
    if (output_.holds_run()) start_without_checkpoint();
    if (complete_) return;  // and its logs stay as they are
    metrics_.emplace(path);
    events_.emplace(output_.path());
    return;
  }
  const CheckpointState state = read_checkpoint(checkpoint->path, trainer_, fingerprint());
  const LogPositions& logs = state.logs;
  saved_ = position();
  if (damaged.empty()) prune();  // should the process before have died before it did
  metrics_.emplace(path, logs.metrics_bytes);
  events_.emplace(output_.path(), logs.event_file, logs.event_bytes);
  if (metrics_->lost_bytes() > 0)
    progress_.message("{}: {} bytes that the checkpoint remembers are gone", path, metrics_->lost_bytes());
  progress_.message("resuming from {} (step {} of {})", checkpoint->path, trainer_.state().step,
                    trainer_.total_steps());
  // A run that has ended already, so that a job script may start it again: its results stay as they are.
  const TrainState& s = trainer_.state();
  const ordered_json results = read_results();
  const std::string where = results_path();
  const JsonFields fields(results, where);
  complete_ = ended() && s.last_evaluation >= 0 && !evaluation_due() && fields.has("settings") &&
              fields.whole("step", 0, INT64_MAX) == s.step;
  const std::string& before = state.kernels;
  const std::string now = kernels_in_use(context_.products(), trainer_.model().device());
  if (!complete_ && !before.empty() && before != now)
    progress_.message(
        "the checkpoint was written with {} kernels, and {} ones go on: the last bits may differ from "
        "those of an uninterrupted run",
        before, now);
  if (const std::string note = random_numbers_note(state, trainer_.model().config()); !complete_ && !note.empty())
    progress_.message("{}: what follows may differ from what an uninterrupted run would have given", note);
}

// --resume where no checkpoint can be used. Logs alone are worth little and are replaced; a model or the results of a
// run that has ended are never deleted.
void Session::start_without_checkpoint() {
  const ordered_json results = read_results();
  const std::string where = results_path();
  const JsonFields fields(results, where);
  const ordered_json* settings = fields.object("settings");
  const bool has_ended = settings != nullptr;  // written last
  if (!has_ended && !output_.has_model()) {
    progress_.message("the former run left no checkpoint: starting afresh");
    output_.clear();
    return;
  }
  // It had no optimizer to save (--epochs 0), or its checkpoints are deleted (--keep-checkpoints off).
  const int64_t step = fields.whole("step", 0, INT64_MAX).value_or(-1);
  if (!has_ended || (step != trainer_.total_steps() && options_.early_stopping_patience == 0))
    fail<UsageError>(
        "{}: holds {}, but no whole checkpoint to resume from; --overwrite deletes what is there and starts "
        "afresh, or choose another --output",
        output_.path(), output_.has_model() ? "a model" : "results");
  check_same_run(settings->dump(), fingerprint(), output_.path());
  TrainState& s = trainer_.state();
  s.step = s.last_evaluation = step;
  s.best_step = fields.whole("best_step", -1, INT64_MAX).value_or(step);
  s.best_accuracy = fields.real("best_accuracy", {.low = -1, .high = 1})
                        .value_or(fields.real("eval_accuracy", {.low = 0, .high = 1}).value_or(0));
  complete_ = true;
}

std::string Session::results_path() const { return output_.file("all_results.json"); }

ordered_json Session::read_results() const { return read_json_object(results_path()); }

void Session::write_metrics(const ordered_json& line) {
  metrics_->write(line);
  const auto step = line.at("step").get<int64_t>();
  for (const auto& [name, value] : line.items())
    if (value.is_number() && name != "step") events_->scalar(tensorboard_tag(name), value.get<double>(), step);
}

void Session::log_step(const StepReport& report) {
  TrainState& s = trainer_.state();
  if (s.loss_count > 0) last_loss_ = s.loss_sum / static_cast<double>(s.loss_count);  // as far as it has been read
  const bool due = at_multiple_of(options_.logging_steps);
  if (due || trainer_.finished()) {
    ordered_json line{{"step", s.step},
                      {"epoch", trainer_.epoch()},
                      {"loss", last_loss_},
                      {"learning_rate", report.learning_rate},
                      {"grad_norm", report.grad_norm},
                      {"tokens_per_second", rate()}};
    if (about(loaded_.model.config().sparsity.method).learns_spans) line["span_penalty"] = report.span_penalty;
    write_metrics(line);
    s.loss_sum = 0;
    s.loss_count = 0;
  }
  progress_.update(
      {.epoch = trainer_.epoch(),
       .epochs = static_cast<double>(trainer_.total_steps()) / static_cast<double>(trainer_.steps_per_epoch()),
       .step = s.step,
       .total_steps = trainer_.total_steps(),
       .loss = last_loss_,
       .tokens_per_second = rate()});
  if (due) {
    timed_tokens_ = 0;
    timed_seconds_ = 0;
  }
}

bool Session::evaluation_due() const {
  const TrainState& s = trainer_.state();
  if (s.last_evaluation == s.step) return false;
  if (trainer_.finished()) return true;
  if (options_.eval_steps > 0) return s.step > 0 && at_multiple_of(options_.eval_steps);
  return s.step > 0 && s.step % trainer_.steps_per_epoch() == 0;
}

void Session::evaluate_now() {
  TrainState& s = trainer_.state();
  RunEvaluation now = evaluate_run();
  const Evaluation& e = now.evaluation;
  const ordered_json& line = now.line;
  if (!std::isfinite(e.loss)) throw NotFinite(fmt::format("the dev loss is {}", e.loss));
  write_metrics(line);
  last_evaluation_ = line;
  s.last_evaluation = s.step;
  progress_.message(
      "step {} (epoch {:.2f}): dev accuracy {}/{} = {:.2f} %, dev loss {:.4f}, effective "
      "sparsity {:.1f} % of valid keys",
      s.step, trainer_.epoch(), e.correct, e.total, 100 * e.accuracy(), e.loss,
      100 * line["eval_sparsity"].get<double>());
  if (selection_) progress_.message("  on the part of the training set for choosing: {:.2f} %", 100 * now.accuracy);
  ++s.evaluations_without_gain;
  const bool better = now.accuracy > s.best_accuracy;
  if (better) {
    s.best_accuracy = now.accuracy;
    s.best_step = s.step;
    s.evaluations_without_gain = 0;
  }
  if (options_.select_last ? ended() : better) selected_ = std::move(now);
}

// The output directory itself holds the best model so far, or at the end the last. It follows the checkpoint of its
// step, so that whoever finds a model without a checkpoint knows that the run has ended.
void Session::publish() {
  if (!selected_) return;
  const bool replaces = output_.replaces_run();
  output_.publish([&](const std::string& directory) {
    save_model(directory, trainer_.model(), loaded_.tokenizer, static_cast<int>(options_.max_length), Flush::by_caller);
    write_file_atomically(directory + "/dev_predictions.jsonl", prediction_lines(selected_->evaluation, dev_set_),
                          Flush::by_caller);
    write_json_file(directory + "/all_results.json", selected_->line, Flush::by_caller);
  });
  selected_.reset();
  if (!replaces) return;
  // The former run is gone, and what this one has written has moved to its place.
  progress_.message("{}: the model of this run has taken the place of the former run's", output_.path());
  store_.follow(output_.path());
  metrics_.emplace(output_.file("metrics.jsonl"), metrics_->bytes());
  const std::string event_file = events_->filename();
  events_.emplace(output_.path(), event_file, events_->bytes());
}

void Session::save() {
  trainer_.read_losses();  // which may end the run
  metrics_->sync();
  events_->sync();
  const TrainState& s = trainer_.state();
  const LogPositions logs{metrics_->bytes(), events_->filename(), events_->bytes()};
  store_.save(s.step, [&](const std::string& directory) {
    write_checkpoint(directory, trainer_, loaded_.tokenizer, static_cast<int>(options_.max_length), logs,
                     fingerprint());
  });
  saved_ = position();
  prune();
}

// To the newest and the best.
void Session::prune() {
  const int64_t best = trainer_.state().best_step;
  store_.prune(1, best >= 0 && !options_.select_last ? std::vector<int64_t>{best} : std::vector<int64_t>{});
}

void Session::save_if_asked() {
  if (!take_save_request()) return;
  if (!saved()) save();
  progress_.message("SIGUSR1: the checkpoint of step {} is saved", trainer_.state().step);
}

// What an optimizer step makes due. An evaluation that is cut leaves a state in which it is due still.
void Session::finish_step() {
  const int64_t step = trainer_.state().step;
  const bool evaluated = evaluation_due();
  if (evaluated) evaluate_now();
  const bool save_due = options_.save_steps > 0 ? at_multiple_of(options_.save_steps) : evaluated;
  // A model that is taken as it is (--epochs 0) has no optimizer to save.
  if (step > 0 && (save_due || selected_ || ended())) save();
  publish();
}

// Whether the step just made is one whose numbers are needed now: to be logged, or before an evaluation or a
// checkpoint.
bool Session::numbers_due() const {
  return at_multiple_of(options_.logging_steps) || at_multiple_of(options_.save_steps) || evaluation_due();
}

void Session::train() {
  StepReport report;  // of the last step that has been read
  bool first = true;
  while (!ended()) {
    leave_if_interrupted();
    save_if_asked();
    const auto begin = Clock::now();
    const bool stepped = trainer_.advance();
    if (stepped && (first || numbers_due())) report = trainer_.settle();
    const double seconds = seconds_since(begin);
    timed_seconds_ += seconds;
    trainer_.state().train_seconds += seconds;
    timed_tokens_ += trainer_.last_tokens();
    trainer_.state().train_tokens += trainer_.last_tokens();
    if (!stepped) continue;
    if (first) {
      startup_seconds_ = process_age();
      describe_run();  // a file that cannot be hashed is an error now, not when the first checkpoint is due
      first = false;
    }
    log_step(report);
    finish_step();
  }
}

// What of the run is left, for who has to decide what to do now.
void Session::explain_divergence(const Diverged& divergence) {
  const int64_t step = trainer_.state().step;
  try {
    describe_run();
  } catch (const Error&) {  // what ended the run counts more
  }
  if (step == 0)  // nothing has been trained yet
    if (const std::string broken = describe_broken_weights(loaded_); !broken.empty())
      fail<Diverged>("{}: {}, so the model computes nothing", loaded_.weights_path, broken);
  std::string what = divergence.what();
  // The last step's update is seen by no training loss any more.
  if (dynamic_cast<const NotFinite*>(&divergence) != nullptr)
    what += fmt::format(" after step {}{}", step, step > 0 ? "\nTry a lower --learning-rate or a longer warmup" : "");
  const std::optional<Checkpoint> checkpoint = store_.newest_valid();
  what += checkpoint ? fmt::format("; the state of step {} is intact in {}", checkpoint->step, checkpoint->path)
                     : "; no checkpoint had been written, so start again with --overwrite or another --output";
  if (dynamic_cast<const StepDiverged*>(&divergence) != nullptr)
    what += fmt::format("\ncrisp-inspect nan {} finds the operation and the sentence that broke it", output_.path());
  fail<Diverged>("{}", what);
}

// The checkpoint first, for whoever has to end soon.
int Session::leave(int signal) {
  progress_.finish();
  progress_.message("interrupted: saving a checkpoint (a third Ctrl-C leaves without it)");
  if (!saved()) save();
  progress_.message("interrupted at step {} of {}; the checkpoint is in {}; add --resume to go on",
                    trainer_.state().step, trainer_.total_steps(), output_.path());
  return exit_code_of(signal);
}

int Session::go(InterruptHandler& signals) try {
  open_logs();
  if (complete_) {
    if (!options_.keep_checkpoints) store_.prune(0);  // should the process before have died over it
    progress_.message("the run is complete: nothing is left to do");
    report_outcome();
    return 0;
  }
  signals.keep_from_now_on();
  const TrainState& state = trainer_.state();
  try {
    // Resumed at the step of the model to publish: the process before may have died between its checkpoint and that.
    const bool to_publish = options_.select_last ? ended() : state.best_step >= 0 && state.best_step == state.step;
    if (evaluation_due()) {  // of the model as it is (--epochs 0), or one that was interrupted
      finish_step();
    } else if (to_publish) {
      selected_ = evaluate_run();
      publish();
    }
    train();
    write_results();
  } catch (const Interrupted& end) {
    return leave(end.signal());
  }
  if (!options_.keep_checkpoints) store_.prune(0);
  progress_.finish();
  if (stop_early() && !trainer_.finished())
    progress_.message("stopped early: {} evaluations without a better accuracy", state.evaluations_without_gain);
  report_outcome();
  return 0;
} catch (const Diverged& divergence) {
  progress_.finish();
  explain_divergence(divergence);
}

}  // namespace crisp
