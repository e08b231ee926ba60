// How long the runs of a study take.
#pragma once

#include <limits>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "train/study/runner.h"

namespace crisp {

struct Estimate {
  std::map<std::string, double> of_arm;                    // seconds of a run, where some have been
  double mean = std::numeric_limits<double>::quiet_NaN();  // of any other
  std::string basis;                                       // what it rests on, for the user

  double seconds(const std::string& arm) const;
};

/// From the runs that are complete, NaN where none is.
Estimate estimate_from_finished(const Study& study, const std::string& output);

/// What a whole run has more of than a short one, by its options.
struct RunLength {
  int64_t max_steps = 0, eval_steps = 0, eval_train = 0;
};
/// Seconds of a whole run, from the all_results.json of a short one with one evaluation that took `elapsed`, and its
/// training's speed: the start, the training, every evaluation, and that of training sentences at the end.
double whole_run_seconds(const nlohmann::json& results, double elapsed, double tokens_per_second,
                         const RunLength& length);

/// From a few steps of the baseline arm, trained by crisp-train in a temporary directory beside `options.output`.
/// Throws Error with crisp-train's message when that fails.
Estimate estimate_by_measuring(const Study& study, const RunnerOptions& options);

}  // namespace crisp
