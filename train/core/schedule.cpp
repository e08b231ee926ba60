#include "train/core/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/fail.h"

namespace crisp {

std::string_view name_of(ScheduleType t) {
  constexpr std::string_view names[] = {"linear", "cosine", "constant"};
  return names[static_cast<size_t>(t)];
}

Schedule::Schedule(ScheduleType type, int64_t total_steps, int64_t warmup_steps)
    : type_(type), total_steps_(total_steps), warmup_steps_(warmup_steps) {
  if (total_steps < 0 || warmup_steps < 0) {
    fail<UsageError>("a schedule needs steps >= 0, not {} steps of which {} are warmup", total_steps, warmup_steps);
  }
}

double Schedule::factor(int64_t step) const {
  if (step < warmup_steps_) return static_cast<double>(step + 1) / static_cast<double>(warmup_steps_);
  const auto decay_steps = static_cast<double>(std::max<int64_t>(1, total_steps_ - warmup_steps_));
  if (type_ == ScheduleType::constant) return 1.0;
  if (type_ == ScheduleType::linear) return std::max(0.0, static_cast<double>(total_steps_ - step) / decay_steps);
  const double progress = std::min(1.0, static_cast<double>(step - warmup_steps_) / decay_steps);
  return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
}

int64_t warmup_steps_for(int64_t total_steps, double warmup_ratio, int64_t warmup_steps) {
  if (warmup_steps > 0) return warmup_steps;
  return static_cast<int64_t>(std::ceil(static_cast<double>(total_steps) * warmup_ratio));
}

}  // namespace crisp
