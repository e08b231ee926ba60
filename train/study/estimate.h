// How long the runs of a study take.
#pragma once

#include <limits>
#include <map>
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

/// From a few steps of the baseline arm, trained by crisp-train in a temporary directory beside `options.output`.
/// Throws Error with crisp-train's message when that fails.
Estimate estimate_by_measuring(const Study& study, const RunnerOptions& options);

}  // namespace crisp
