// The report's sections, each HTML without its heading.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "train/page/html.h"
#include "train/study/results.h"

namespace crisp::report {

using namespace page;

/// A column of a table: its header, and what it says of a row's StudyArm or ArmComparison, in HTML.
template <class Row>
struct Column {
  std::string header;
  std::function<std::string(const Row&)> cell;
};
/// A row for each arm, with its name in a column before the others; the baseline's is highlighted.
Table arm_table(const StudyResults& study, const std::string& caption, const std::vector<Column<StudyArm>>& columns);
/// The same for the comparisons.
Table comparison_table(const StudyResults& study, const std::string& caption,
                       const std::vector<Column<ArmComparison>>& columns);

/// The names of the arms, as HTML, of which `holds(const StudyArm&)` is true.
template <class Predicate>
std::vector<std::string> arms_where(const StudyResults& study, Predicate holds) {
  std::vector<std::string> names;
  for (const StudyArm& arm : study.arms)
    if (holds(arm)) names.push_back(escape(arm.name));
  return names;
}

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
/// "0.83 %, which Holm's correction for 6 comparisons asks of the smallest p"; of several comparisons.
std::string holm_level(const StudyResults& study);
std::string accuracies(const StudyResults& study);
std::string differences(const StudyResults& study);
std::string all_runs(const StudyResults& study);
std::string disagreements(const StudyResults& study);

// report_training.cpp
std::string generalisation(const StudyResults& study);
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
