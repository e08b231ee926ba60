// The comparisons of a study's arms with its baseline.
#include <algorithm>
#include <cmath>
#include <map>

#include "train/study/results.h"

namespace crisp {
namespace {

// Resampling is the same whenever the report is made again.
constexpr uint64_t resampling_seed = 20260101;

using RunPair = std::pair<const StudyRun*, const StudyRun*>;  // baseline, arm

std::vector<RunPair> pairs_of(const StudyArm& base, const StudyArm& arm) {
  std::vector<RunPair> pairs;
  for (size_t s = 0; s < base.runs.size(); ++s)
    if (base.runs[s].complete() && arm.runs[s].complete()) pairs.emplace_back(&base.runs[s], &arm.runs[s]);
  return pairs;
}

// Over the pairs where both have the number.
template <class Number>
PairedComparison compare(const std::vector<RunPair>& pairs, Number number) {
  std::vector<double> a, b;
  for (const auto& [base, arm] : pairs) {
    const double x = number(*base), y = number(*arm);
    if (!std::isfinite(x) || !std::isfinite(y)) continue;
    a.push_back(x);
    b.push_back(y);
  }
  return compare_paired(a, b, resampling_seed);
}

// Dev losses at the points of training that all runs of the pairs have evaluated.
std::vector<MatchedLoss> match_losses(const std::vector<RunPair>& pairs) {
  std::map<int64_t, std::vector<double>> base_losses, arm_losses;
  std::map<int64_t, double> epochs;
  const auto add = [&](const StudyRun& run, std::map<int64_t, std::vector<double>>& losses) {
    std::map<int64_t, double> own;  // of two evaluations at one point the later
    for (const CurvePoint& p : run.dev_losses) {
      if (!std::isfinite(p.epoch) || !std::isfinite(p.value)) continue;
      own[matching_key(p)] = p.value;
      epochs[matching_key(p)] = p.epoch;
    }
    for (const auto& [key, loss] : own) losses[key].push_back(loss);
  };
  for (const auto& [base, arm] : pairs) add(*base, base_losses), add(*arm, arm_losses);
  std::vector<MatchedLoss> matched;
  for (const auto& [key, epoch] : epochs) {
    const std::vector<double>&a = base_losses[key], &b = arm_losses[key];
    if (a.size() == pairs.size() && b.size() == pairs.size())
      matched.push_back({epoch, compare_paired(a, b, resampling_seed)});
  }
  return matched;
}

void compare_by_example(const std::vector<RunPair>& pairs, ArmComparison& c) {
  std::vector<std::vector<uint8_t>> a, b;
  for (const auto& [base, arm] : pairs) {
    if (base->right.empty() || arm->right.empty()) return;
    a.push_back(base->right);
    b.push_back(arm->right);
  }
  c.by_example = !a.empty();
  if (!c.by_example) return;
  for (size_t s = 0; s < a.size(); ++s) c.mcnemar.push_back(exact_mcnemar(a[s], b[s]));
  c.pooled = pooled_mcnemar(a, b);
  if (a.size() > 1) c.two_level = two_level_bootstrap(a, b, resampling_seed);
}

}  // namespace

int64_t matching_key(const CurvePoint& point) { return std::llround(1e6 * point.epoch); }

Summary summarise(const std::vector<double>& values) {
  return {static_cast<int64_t>(values.size()), mean(values), standard_deviation(values), mean_interval(values)};
}

void compare_arms(StudyResults& study) {
  study.comparisons.clear();
  std::vector<double> p_values;
  const size_t comparisons = study.arms.size() - 1;
  for (size_t i = 0; i < study.arms.size(); ++i) {
    if (i == study.baseline) continue;
    const std::vector<RunPair> pairs = pairs_of(study.base(), study.arms[i]);
    ArmComparison c;
    c.arm = i;
    for (const auto& [base, arm] : pairs) c.seeds.push_back(base->seed);
    c.accuracy = compare(pairs, [](const StudyRun& run) { return run.accuracy(); });
    c.loss = compare(pairs, [](const StudyRun& run) { return run.loss; });
    c.calibration = compare(pairs, [](const StudyRun& run) { return run.calibration; });
    c.gap = compare(pairs, [](const StudyRun& run) { return run.gap(); });
    c.detectable = detectable_difference(c.accuracy.n, c.accuracy.sd);
    c.detectable_corrected =
        detectable_difference(c.accuracy.n, c.accuracy.sd, 0.8, significance / static_cast<double>(comparisons));
    c.matched_losses = match_losses(pairs);
    compare_by_example(pairs, c);
    p_values.push_back(c.accuracy.p_value);
    study.comparisons.push_back(std::move(c));
  }
  const std::vector<double> adjusted = holm(p_values);
  for (size_t i = 0; i < adjusted.size(); ++i) study.comparisons[i].adjusted_p = adjusted[i];
}

}  // namespace crisp
