// How long the runs of a study take.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "train/run/train_options.h"
#include "train/study/runner.h"

namespace crisp {

struct Estimate {
  std::map<std::string, double> of_arm;                    // seconds of a run
  double mean = std::numeric_limits<double>::quiet_NaN();  // of the runs that it rests on; of an arm not in `of_arm`
  std::string basis;                                       // what it rests on, for the user

  double seconds(const std::string& arm) const;
};

/// From the runs that are complete, NaN where none is: the mean of the arm's own; of an arm without one the mean of
/// what each other arm's first run foresees for its options (whole_run_seconds).
Estimate estimate_from_finished(const Study& study, const std::string& output);

/// What crisp-train makes of options that it has taken, with the epochs of the bundled sample where it trains that.
TrainOptions run_options(const OptionMap& options);

/// Seconds of a run with the options `wanted`, from the all_results.json of one with `measured` that took `elapsed`,
/// and its training's speed: the start, the training, every evaluation, and that of training sentences at the end. All
/// else (data, length of sentences, method) counts as the same.
double whole_run_seconds(const nlohmann::ordered_json& results, double elapsed, double tokens_per_second,
                         const TrainOptions& measured, const TrainOptions& wanted);

/// From a few steps of the baseline arm, trained by crisp-train in a temporary directory beside `options.output` (or
/// the system's, where that cannot be written), each arm with its own options' length. Throws Error with crisp-train's
/// message when that fails.
Estimate estimate_by_measuring(const Study& study, const RunnerOptions& options);

}  // namespace crisp
