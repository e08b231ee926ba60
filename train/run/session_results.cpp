// What a session evaluates, and what it says and writes of a run that has ended.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/backend.h"
#include "engine/system.h"
#include "train/inference/precision.h"
#include "train/run/results.h"
#include "train/run/session.h"
#include "train/run/train_settings.h"

namespace crisp {

using nlohmann::ordered_json;

Evaluation Session::evaluate_on(const TokenizedDataset& data, const std::string& what, Statistics statistics) {
  const EvaluationHooks hooks{.before_each_operation = leave_if_interrupted, .after_batch = [&](int64_t done) {
                                progress_.evaluating({.what = what, .done = done, .total = data.size()});
                                save_if_asked();
                              }};
  return evaluate(trainer_.model(), data, static_cast<int>(options_.eval_batch_size), statistics, hooks, context_);
}

Session::RunEvaluation Session::evaluate_run() {
  RunEvaluation result{.evaluation = evaluate_on(dev_, "dev", Statistics::attention)};
  result.line = evaluation_json(result.evaluation, trainer_);
  result.accuracy = result.evaluation.accuracy();
  if (!selection_) return result;
  const Evaluation e = evaluate_on(*selection_, "the part for choosing", Statistics::none);
  result.accuracy = e.accuracy();
  result.line.update(ordered_json{{"selection_loss", e.loss},
                                  {"selection_accuracy", e.accuracy()},
                                  {"selection_correct", e.correct},
                                  {"selection_total", e.total}});
  return result;
}

void Session::report_outcome() {
  const TrainState& s = trainer_.state();
  if (options_.select_last)
    progress_.message("model, metrics and predictions of the last evaluation are in {}", output_.path());
  else
    progress_.message("best {} {:.2f} % at step {}; model, metrics and predictions are in {}",
                      selection_ ? "accuracy on the part of the training set for choosing" : "dev accuracy",
                      100 * s.best_accuracy, s.best_step, output_.path());
}

void Session::write_results() {
  const TrainState& s = trainer_.state();
  if (last_evaluation_.empty()) last_evaluation_ = evaluate_run().line;  // resumed after the last evaluation
  // all_results.json holds the selected evaluation already; here the rest of the run joins it.
  ordered_json results = read_results();
  results.erase("step");
  results.erase("epoch");
  ordered_json document{
      {"epoch", trainer_.epoch()},
      {"step", s.step},
      {"best_epoch", trainer_.epoch_at(s.best_step)},
      {"best_step", s.best_step},
      {"best_accuracy", s.best_accuracy},
      {"train_loss", s.step > 0 ? s.total_loss_sum / static_cast<double>(s.step) : 0.0},
      {"train_runtime", s.train_seconds},
      {"train_tokens_per_second", s.train_seconds > 0 ? static_cast<double>(s.train_tokens) / s.train_seconds : 0.0}};
  for (const auto& [key, value] : results.items())
    if (!document.contains(key)) document[key] = value;
  for (const char* key : {"eval_loss", "eval_accuracy", "eval_correct", "eval_total"})
    if (last_evaluation_.contains(key)) document[std::string("last_") + key] = last_evaluation_[key];
  if (options_.eval_train > 0) {
    const auto n = static_cast<int32_t>(std::min<int64_t>(options_.eval_train, train_.size()));
    const Evaluation e = evaluate_on(train_.subset(sequential_order(n)), "training sentences", Statistics::none);
    document["train_eval_loss"] = e.loss;
    document["train_eval_accuracy"] = e.accuracy();
    document["train_eval_total"] = e.total;
  }
  document["peak_tensor_bytes"] = backend(trainer_.model().device()).peak_bytes();
  document["peak_resident_bytes"] = os::peak_resident_bytes();
  if (startup_seconds_) document["startup_seconds"] = *startup_seconds_;
  document["instruction_set"] = kernels_in_use(context_.products(), trainer_.model().device());
  document["threads"] = context_.threads();
  document["settings"] = settings();
  write_json_file(output_.file("all_results.json"), document);
}

// From which somebody may do again what the run does, before it has ended.
void Session::describe_run() {
  ordered_json all = settings();
  std::error_code unknown;
  all["started_in"] = std::filesystem::current_path(unknown).string();
  output_.describe(all.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
}

// The fingerprint, which a resumed run must share, and beside it every option as it was given or resolved. Not where
// the run writes, on how many threads, or whether it was resumed: that may differ between two runs that are the same.
ordered_json Session::settings() {
  ordered_json all = ordered_json::parse(fingerprint());
  all.update(settings_record(options_, Recorded::yes));
  all["vocab"] = loaded_.tokenizer.path;
  all["sparsity"] = options_.sparse.sparsity;
  return all;
}

}  // namespace crisp
