// What `step` measures steps of, and its two ways: one model by itself, or two sparsities in turn.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/distilbert.h"
#include "tools/bench/commands.h"
#include "tools/bench/sentences.h"
#include "train/core/trainer.h"
#include "train/inference/precision.h"
#include "train/run/train_options.h"

namespace crisp::bench {

struct StepOptions {
  CommonOptions common;
  Precision precision = Precision::f32;
  SentenceOptions sentences;
  std::string weights, init = "distilbert-base", sparsity = "dense", against;
  std::optional<double> dropout;
  int64_t batch = 32, steps = 20, warm = 4;
  bool infer = false, beside_load = false, losses = false, print_batches = false, kernels = false;
  double learning_rate = 2e-5, max_grad_norm = 1, weight_decay = 0.01;
  int64_t seed = 0;
  int64_t flat_after = -1;      // steps, after which more memory is an error; -1: never
  int64_t least_positions = 0;  // of a random model: its configuration's, or more
};

/// A model and sentences that fit it.
struct StepSetup {
  Sentences sentences;
  DistilBert model;
};
/// Throws BadInput or UsageError for files or sizes that do not fit.
StepSetup set_up_step(StepOptions options, const Context& context);

/// How many steps follow the measured ones for the profile: on a GPU, where marks between kernels slow down a step.
int64_t profiled_apart(const StepOptions& options);

/// A constant rate, and a run that does not end within the measured steps and those for the profile.
TrainerOptions train_options(const StepOptions& options);

/// One training step and the parts of it that were spent in kernels, and in those of attention.
struct StepTime {
  double seconds = 0, kernel_seconds = 0, attention_seconds = 0;
};
StepTime timed_step(Trainer& trainer, StepReport& report);

/// Training steps with `sparsity` and `against` in turn, on the same batches, and the ratio of their times; prints it.
/// Returns the exit code.
int compare_steps(const StepOptions& options, const Context& context);

}  // namespace crisp::bench
