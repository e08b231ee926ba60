// The report's sections, each HTML without its heading.
#pragma once

#include <string>
#include <vector>

#include "train/study/results.h"

namespace crisp::report {

// report_summary.cpp
std::string summary(const StudyResults& study);

/// What a comparison of accuracies allows to say.
enum class Verdict {
  not_comparable,    // no seed is complete in both arms
  one_seed,          // a difference without a spread
  equal,             // the same accuracy with each seed
  no_spread,         // the same difference, other than 0, with each seed
  none_shown,        // p >= 0.05
  uncorrected_only,  // p < 0.05, but not after Holm's correction
  shown,             // p < 0.05 after the correction
};
Verdict verdict(const ArmComparison& comparison);
/// "aggressive minus dense: +0.30 points, 95 % interval ... over 8 seeds: no difference shown."
std::string sentence(const ArmComparison& comparison, const StudyResults& study);

// report_accuracy.cpp
std::string accuracies(const StudyResults& study);
std::string differences(const StudyResults& study);
std::string all_runs(const StudyResults& study);
std::string disagreements(const StudyResults& study);

// report_training.cpp
std::string generalisation(const StudyResults& study);

// report_curves.cpp
std::string loss_curves(const StudyResults& study);
/// A loss of more than so many times loss_of_chance is that of weights that blew up: charts leave it out of their
/// scale.
constexpr double blown_up = 5;
/// The cross-entropy of even probabilities, log(classes); of two classes where no run has logits.
double loss_of_chance(const StudyResults& study);
/// "light (5 to 10 steps)" of each arm whose complete runs ended at different steps.
std::vector<std::string> unequal_lengths(const StudyResults& study);

// report_sparsity.cpp
std::string sparsity(const StudyResults& study);
/// That differences are confounded with effective sparsity, where arms are not as sparse as their options say, equal
/// requests come out differently, or a measure decides and it is not that of other sparse arms; "" elsewhere.
std::string confounded(const StudyResults& study);
/// Which arms' training removes what the evaluation, whose sparsity is shown, does not; "" without.
std::string sparser_in_training(const StudyResults& study);

// report_attention.cpp
std::string entropy(const StudyResults& study);
std::string degrees(const StudyResults& study);

// report_cost.cpp
std::string flops(const StudyResults& study);
std::string time(const StudyResults& study);

// report_settings.cpp
std::string choices(const StudyResults& study);
std::string settings(const StudyResults& study);

}  // namespace crisp::report
