// What the runs of a study came to: read from its directory, compared, and written as results.json, runs.csv and
// predictions.csv. The report (train/study/report.h) shows the same numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/sparsity.h"
#include "train/study/run_state.h"
#include "train/study/statistics.h"
#include "train/study/study.h"

namespace crisp {

/// A point of a curve over training.
struct CurvePoint {
  int64_t step = 0;
  double epoch = unknown;
  double value = unknown;
};

/// One layer's attention at the run's evaluation. What is not known, or not defined, is NaN.
struct LayerAttention {
  double requested = unknown;      // sparsity asked for; NaN where a measure (a window, a threshold) decides instead
  double effective = unknown;      // 1 - kept / valid (query, key) pairs
  std::vector<double> entropy;     // of each head, in nats
  std::vector<double> normalised;  // of each head, over the log of the allowed keys; NaN where each row keeps one key
  std::vector<double> spans;       // learned degree of each head, in positions; empty without
  std::vector<double> windows;     // what they are rounded to: how far away a key may be
};

/// Of a sentence's forward pass, on average at the actual lengths (train/inference/flops.h).
struct SentenceFlops {
  double total = unknown, attention = unknown, attention_dense = unknown, attention_scored = unknown;
};

/// One run: an arm with a seed. Numbers that a run doesn't have are NaN, counts 0.
struct StudyRun {
  uint64_t seed = 0;
  RunStatus status = RunStatus::missing;  // that, complete, diverged, or failed: also with unusable results
  std::string message;                    // what the run ended with, where that was no success

  // At the evaluation whose model the run's directory holds.
  int64_t correct = 0, total = 0;
  double loss = unknown;         // mean cross-entropy on the dev set
  double calibration = unknown;  // expected calibration error (statistics.h) on the dev set
  double train_loss = unknown;   // mean over the steps, with dropout
  // Of the last weights, which need not be those of the evaluation above.
  double last_eval_loss = unknown;   // on the dev set
  double train_eval_loss = unknown;  // on the training set's first sentences, without dropout
  double train_eval_accuracy = unknown;
  double sparsity = unknown;  // effective, mean over layers
  std::vector<LayerAttention> layers;
  SentenceFlops flops;

  int64_t steps = 0;
  double epochs = unknown;
  int64_t best_step = -1;
  bool select_best = false;            // of several evaluations the best is reported, not the last
  double selection_part = 0;           // of the training set: the best evaluation is chosen on it; 0: on the dev set
  int64_t patience = 0;                // evaluations without gain, on the same sentences, that end the run; 0: none do
  double seconds = unknown;            // of training
  double tokens_per_second = unknown;  // the same
  double peak_bytes = unknown;         // resident
  int64_t threads = 0;
  std::string instruction_set;
  std::string settings;             // all_results.json's, as JSON text; empty without
  SparsityConfig sparse_attention;  // of the settings; dense where they have nothing of it

  std::vector<CurvePoint> training_losses, dev_losses;
  bool whole_curves = true;  // those of a complete run, without damaged lines and up to its end

  // Every dev example, in the file's order; empty without dev_predictions.jsonl.
  std::vector<int32_t> labels, predictions;
  std::vector<uint8_t> right;
  std::vector<double> confidences;  // the predicted class's probability
  std::vector<std::vector<double>> logits;
  void forget_examples() { labels.clear(), predictions.clear(), right.clear(), confidences.clear(), logits.clear(); }

  bool complete() const { return status == RunStatus::complete; }
  /// NaN unless complete.
  double accuracy() const;
  /// Dev loss less the loss on training sentences, both of the last weights and without dropout.
  double gap() const { return last_eval_loss - train_eval_loss; }
  double seconds_per_step() const { return steps > 0 ? seconds / static_cast<double>(steps) : unknown; }
};

/// Calls use(its name in all_results.json, in results.json, in runs.csv, number) for the numbers of a run, in the order
/// of the latter two; "" where it is not there, "a/b" for b in the object a.
template <class Run, class Use>
void for_each_number(Run& run, const Use& use) {
  use("eval_correct", "correct", "correct", run.correct);
  use("eval_total", "total", "total", run.total);
  use("", "accuracy", "accuracy", run.accuracy());
  use("eval_loss", "loss", "loss", run.loss);
  use("", "expected_calibration_error", "ece", run.calibration);
  use("train_loss", "train_loss", "train_loss", run.train_loss);
  use("last_eval_loss", "last_eval_loss", "last_eval_loss", run.last_eval_loss);
  use("train_eval_loss", "train_eval_loss", "train_eval_loss", run.train_eval_loss);
  use("train_eval_accuracy", "train_eval_accuracy", "", run.train_eval_accuracy);
  use("", "train_dev_gap", "train_dev_gap", run.gap());
  use("eval_sparsity", "effective_sparsity", "effective_sparsity", run.sparsity);
  use("eval_flops/total", "flops/total", "flops", run.flops.total);
  use("eval_flops/attention", "flops/attention", "flops_attention", run.flops.attention);
  use("eval_flops/attention_dense", "flops/attention_dense", "flops_attention_dense", run.flops.attention_dense);
  use("eval_flops/attention_scored", "flops/attention_scored", "flops_attention_scored", run.flops.attention_scored);
  use("step", "steps", "steps", run.steps);
  use("epoch", "epochs", "epochs", run.epochs);
  use("best_step", "best_step", "", run.best_step);
  use("train_runtime", "train_seconds", "seconds", run.seconds);
  use("train_tokens_per_second", "train_tokens_per_second", "tokens_per_second", run.tokens_per_second);
  use("peak_resident_bytes", "peak_resident_bytes", "peak_resident_bytes", run.peak_bytes);
  use("threads", "threads", "threads", run.threads);
  use("instruction_set", "instruction_set", "instruction_set", run.instruction_set);
}

/// A number over the complete runs of an arm that have it.
struct Summary {
  int64_t n = 0;
  double mean = unknown, sd = unknown;
  Interval95 interval;  // Student's, of the mean
};
Summary summarise(const std::vector<double>& values);

struct StudyArm : Study::Arm {
  std::vector<StudyRun> runs;  // one for each seed, in the study's order

  std::vector<const StudyRun*> complete_runs() const;
  int64_t count(RunStatus status) const;
  /// Of the run that has most; an arm's runs agree unless someone has mixed models.
  size_t layer_count() const;
  /// Whether `holds`, a member of StudyRun or a function of one, is true of a complete run.
  template <class Predicate>
  bool any_complete(Predicate holds) const {
    const auto list = complete_runs();
    return std::any_of(list.begin(), list.end(), [&](const StudyRun* run) { return std::invoke(holds, *run); });
  }
  /// Of `number`, the like, over the complete runs where it is finite.
  template <class Number>
  std::vector<double> values(Number number) const {
    std::vector<double> all;
    for (const StudyRun* run : complete_runs())
      if (const auto value = static_cast<double>(std::invoke(number, *run)); std::isfinite(value)) all.push_back(value);
    return all;
  }
  template <class Number>
  Summary summary(Number number) const {
    return summarise(values(number));
  }
  template <class Number>
  double mean(Number number) const {
    return crisp::mean(values(number));
  }
};

/// Dev losses at one point of training that all runs compared have evaluated.
struct MatchedLoss {
  double epoch = unknown;
  PairedComparison loss;
};

/// An arm against the baseline, over the seeds that are complete in both. Differences are arm - baseline.
struct ArmComparison {
  size_t arm = 0;
  std::vector<uint64_t> seeds;
  PairedComparison accuracy;
  double adjusted_p = unknown;  // accuracy.p_value by Holm over all arms, those without a p-value included
  // The true difference of accuracies that so many seeds show with 80 %: in one comparison at 5 %, and at the strictest
  // level that Holm asks of this study's comparisons. Above 1 no possible difference is.
  double detectable = unknown, detectable_corrected = unknown;
  PairedComparison loss;  // of the evaluations that the runs report: of different epochs where they select the best
  PairedComparison calibration, gap;
  std::vector<MatchedLoss> matched_losses;  // in the order of training

  // Only where all runs compared answer the same examples.
  bool by_example = false;
  std::vector<McNemar> mcnemar;  // of each seed
  McNemar pooled{0, 0, unknown};
  Interval95 two_level;  // of two pairs or more: of one only the examples would vary
};

struct StudyResults {
  std::string name, description;
  OptionMap common;  // options of all arms
  std::vector<uint64_t> seeds;
  std::vector<StudyArm> arms;
  size_t baseline = 0;
  std::vector<std::string> examples;  // dev sentences
  std::vector<int32_t> labels;
  std::vector<std::string> notes;  // what was odd about the files: one sentence each
  std::vector<ArmComparison> comparisons;

  const StudyArm& base() const { return arms[baseline]; }
  size_t layer_count() const;  // the most that an arm has
  bool is_base(const StudyArm& arm) const { return &arm == &base(); }
  /// What crisp-train is given for an arm, whose own options win.
  OptionMap options_of(const StudyArm& arm) const;
  int64_t count(RunStatus status) const;
  /// Runs that have ended without a result.
  int64_t lost() const { return count(RunStatus::diverged) + count(RunStatus::failed); }
};

/// Reads OUTPUT/study.json and OUTPUT/runs/ARM/seed-S/{study_status.json, all_results.json, metrics.jsonl,
/// dev_predictions.jsonl}, and compares the arms. A run's files that are absent or damaged, or whose counts cannot be,
/// make that run missing or failed, which its message tells; only a study.json that cannot be used is an error:
/// BadInput.
StudyResults read_study(const std::string& output_dir);

/// Fills `comparisons` from the arms.
void compare_arms(StudyResults& study);

/// One sentence for each arm whose runs were not trained or evaluated on the same data, by the hashes in their
/// settings: among themselves, or unlike another arm's although neither has options that choose data. Data that the
/// seed carves (--selection-part) or that hold parses for some runs alone are compared only with their like.
std::vector<std::string> data_notes(const StudyResults& study);

/// One sentence where runs of one seed that are compared, an arm's and the baseline's, were made with different
/// kernels.
std::vector<std::string> kernel_notes(const StudyResults& study);

/// Where `point` is in training, for comparisons of runs: equal where the epochs are.
int64_t matching_key(const CurvePoint& point);

/// Writes to OUTPUT: results.json (all but examples and training curves), runs.csv (a line for each run) and
/// predictions.csv (a line for each example and complete run: arm, seed, example from 0, label, prediction, correct,
/// logits). Numbers that don't exist are null, or empty in CSV. Throws Error.
void write_study_files(const std::string& output_dir, const StudyResults& study);

}  // namespace crisp
