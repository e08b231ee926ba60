// What can be chosen about a training, with its default. Plain data, and a leaf header: crisp.hpp shows it to host
// programs.
#pragma once

#include <cstdint>
#include <optional>

namespace crisp {

// What holds where TrainerOptions does not say. The bundled sample is a small model with a new head on 2,000 sentences:
// it has values of its own, which run_training takes when it trains the sample.
constexpr double default_learning_rate = 2e-5, sample_learning_rate = 5e-4;
constexpr double default_epochs = 3, sample_epochs = 8;

// More is taken for a slip of the hand. The trainer counts micro-steps in 32 bits (they number the dropout masks).
constexpr int64_t most_steps = 1'000'000'000;
constexpr double most_epochs = 1e6;

/// The course of the learning rate after the warmup (train/core/schedule.h).
enum class ScheduleType : uint8_t { linear, cosine, constant };

/// What Trainer needs to know: the optimisation. trainer_settings() declares names and ranges.
struct TrainerOptions {
  std::optional<double> epochs;         // may be a fraction: ceil(epochs * steps of an epoch) steps in all; unset: 3
  int64_t max_steps = 0;                // optimizer steps; above 0 it replaces `epochs`
  std::optional<double> learning_rate;  // at the schedule's peak; unset: 2e-5
  int64_t batch_size = 32;              // sequences of a micro-batch
  int64_t gradient_accumulation_steps = 1;  // micro-batches of an optimizer step
  ScheduleType schedule = ScheduleType::linear;
  double warmup_ratio = 0.1;   // of all steps
  int64_t warmup_steps = 0;    // above 0 it replaces `warmup_ratio`
  double weight_decay = 0.01;  // not on biases and LayerNorm
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double max_grad_norm = 1.0;  // 0: no clipping
  uint64_t seed = 42;          // of the order of the examples and of dropout

  double epochs_or_default() const { return epochs.value_or(default_epochs); }
  double learning_rate_or_default() const { return learning_rate.value_or(default_learning_rate); }
};

}  // namespace crisp
