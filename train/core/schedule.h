// Learning-rate schedules: what the base learning rate is multiplied with at each optimizer step.
#pragma once

#include <cstdint>
#include <string_view>

#include "train/core/trainer_options.h"

namespace crisp {

std::string_view name_of(ScheduleType t);

/// The schedules of transformers (get_linear_schedule_with_warmup and its cosine and constant siblings), with one
/// deliberate difference: during the warmup step s (from 0) uses (s + 1) / warmup, where transformers uses s / warmup,
/// so that the first step is not spent at a learning rate of 0. From step `warmup` on, the values are the same.
class Schedule {
 public:
  /// Throws UsageError when total_steps < 0 or warmup_steps < 0. A warmup longer than the training is allowed.
  Schedule(ScheduleType type, int64_t total_steps, int64_t warmup_steps);

  /// The factor in [0, 1] of optimizer step `step`, counted from 0. Linear and cosine reach 0 at step total_steps,
  /// which is one after the last.
  double factor(int64_t step) const;

  int64_t total_steps() const { return total_steps_; }

 private:
  ScheduleType type_;
  int64_t total_steps_;
  int64_t warmup_steps_;
};

/// warmup_steps when it is above 0, else ceil(total_steps * warmup_ratio), as in transformers.
int64_t warmup_steps_for(int64_t total_steps, double warmup_ratio, int64_t warmup_steps);

}  // namespace crisp
