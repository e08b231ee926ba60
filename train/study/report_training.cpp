// What the models do on the dev set beside their accuracy: loss, train-dev gap, calibration.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "train/study/report_charts.h"
#include "train/study/report_html.h"
#include "train/study/report_sections.h"

namespace crisp::report {
namespace {

constexpr size_t most_evaluations = 6;  // columns of the table of dev losses

bool same_point(double epoch, const CurvePoint& p) { return matching_key({0, epoch, 0}) == matching_key(p); }

// Epochs that all complete runs of the study have evaluated, evenly picked, the last one in any case.
std::vector<double> common_epochs(const StudyResults& study) {
  std::map<int64_t, std::pair<std::set<const StudyRun*>, double>> seen;
  int64_t runs = 0;
  for (const StudyArm& arm : study.arms) {
    for (const StudyRun* run : arm.complete_runs()) {
      ++runs;
      for (const CurvePoint& p : run->dev_losses) {
        if (!std::isfinite(p.epoch)) continue;
        auto& [seen_by, epoch] = seen[matching_key(p)];
        seen_by.insert(run);
        epoch = p.epoch;
      }
    }
  }
  std::vector<double> common;
  for (const auto& [key, entry] : seen)
    if (std::ssize(entry.first) == runs) common.push_back(entry.second);
  if (common.size() <= most_evaluations) return common;
  std::vector<double> picked;
  for (size_t i = 1; i <= most_evaluations; ++i) picked.push_back(common[i * common.size() / most_evaluations - 1]);
  return picked;
}

std::string epoch_title(double epoch) { return fmt::format("epoch {:.4g}", epoch); }

double dev_loss_at(const StudyRun& run, double epoch) {
  double loss = unknown;
  for (const CurvePoint& p : run.dev_losses)
    if (same_point(epoch, p)) loss = p.value;
  return loss;
}

Table dev_loss_table(const StudyResults& study) {
  std::vector<Column<StudyArm>> columns;
  for (const double epoch : common_epochs(study))
    columns.push_back({epoch_title(epoch), [=](const StudyArm& arm) {
                         return fixed(arm.mean([=](const StudyRun& run) { return dev_loss_at(run, epoch); }), 4);
                       }});
  columns.push_back({"reported", [](const StudyArm& arm) { return fixed(arm.mean(&StudyRun::loss), 4); }});
  columns.push_back({"SD", [](const StudyArm& arm) { return fixed(arm.summary(&StudyRun::loss).sd, 4); }});
  return arm_table(
      study, "Mean dev loss at the epochs that all runs have evaluated, and at the evaluations that the runs report",
      columns);
}

std::string difference_cell(const PairedComparison& c) {
  return with_sign(c.mean, 4) +
         (c.n > 1 ? "<br/><span class=\"small\">" + interval(c.t_interval, 1, 4) + "</span>" : "");
}

Table loss_difference_table(const StudyResults& study) {
  std::vector<Column<ArmComparison>> columns{
      {"pairs", [](const ArmComparison& c) { return grouped(std::ssize(c.seeds)); }}};
  for (const double epoch : common_epochs(study))
    columns.push_back({epoch_title(epoch), [=](const ArmComparison& c) {
                         for (const MatchedLoss& m : c.matched_losses)
                           if (same_point(epoch, {0, m.epoch, 0})) return difference_cell(m.loss);
                         return fixed(unknown, 0);
                       }});
  columns.push_back({"reported", [](const ArmComparison& c) { return difference_cell(c.loss); }});
  return comparison_table(
      study,
      "Dev loss of the arm minus the baseline’s at the same epoch, mean over paired seeds, below it Student’s 95 % "
      "interval; last, of the evaluations that the runs report, which may be of different epochs",
      columns);
}

Table gap_table(const StudyResults& study) {
  const auto compared = [&](const StudyArm& arm, PairedComparison ArmComparison::*what) {
    for (const ArmComparison& c : study.comparisons)
      if (&study.arms[c.arm] == &arm) return c.*what;
    return PairedComparison{};
  };
  const auto gap = [=](const StudyArm& arm) { return compared(arm, &ArmComparison::gap); };
  const auto calibration = [=](const StudyArm& arm) { return compared(arm, &ArmComparison::calibration); };
  return arm_table(
      study,
      "Train-dev gap (dev loss less training loss, both of the last weights and without dropout) and expected "
      "calibration error (of the evaluation that a run reports), means",
      {{"training loss", [](const StudyArm& arm) { return fixed(arm.mean(&StudyRun::train_eval_loss), 4); }},
       {"gap", [](const StudyArm& arm) { return fixed(arm.mean(&StudyRun::gap), 4); }},
       {"gap, difference", [=](const StudyArm& arm) { return with_sign(gap(arm).mean, 4); }},
       {"95 % by t", [=](const StudyArm& arm) { return interval(gap(arm).t_interval, 1, 4); }},
       {"calibration error", [](const StudyArm& arm) { return percent(arm.mean(&StudyRun::calibration)); }},
       {"its difference", [=](const StudyArm& arm) { return points(calibration(arm).mean); }},
       {"95 % by t", [=](const StudyArm& arm) { return difference_interval(calibration(arm).t_interval); }}});
}

// Numbers of a magnitude above `most` have no part in the scale.
template <class Number>
std::string metric_chart(const StudyResults& study, const std::string& title, Unit unit, Number number,
                         double most = std::numeric_limits<double>::infinity()) {
  RowChart chart;
  const auto format = [&](double v) { return fixed(unit.factor * v, unit.factor > 1 ? 1 : 4) + unit.suffix; };
  for (const StudyArm& arm : study.arms) {
    const Summary s = arm.summary(number);
    DotRow row{.label = arm.name,
               .text = s.n == 0 ? "no result" : format(s.mean),
               .highlighted = study.is_base(arm),
               .mean = s.n > 1 ? s.mean : unknown,
               .interval = s.interval};
    for (const StudyRun* run : arm.complete_runs())
      if (const double value = std::invoke(number, *run); std::isfinite(value))
        row.dots.push_back({value, fmt::format("{}, seed {}: {}", arm.name, run->seed, format(value))});
    chart.rows.push_back(std::move(row));
  }
  if (const double base = study.base().mean(number); std::isfinite(base)) chart.reference = base;
  chart.axis = row_axis(chart.rows, {}, title, unit, most);
  chart.description = title + " of each arm with every run as a dot. The table has the numbers.";
  std::vector<std::string> outside;
  for (const std::string& words : chart.outside()) outside.push_back(escape(words));
  return figure(chart.html() + outside_note(outside), "");
}

}  // namespace

std::string generalisation(const StudyResults& study) {
  if (study.count(RunStatus::complete) == 0) return "";
  const double most = blown_up * loss_of_chance(study);
  std::string html = metric_chart(study, "reported dev loss", plain_unit, &StudyRun::loss, most);
  html += dev_loss_table(study).html();
  if (const Table table = loss_difference_table(study); !table.empty()) html += table.html();
  std::string more;
  const auto has_gap = [](const StudyArm& arm) { return !arm.values(&StudyRun::gap).empty(); };
  if (!arms_where(study, has_gap).empty())
    more += metric_chart(study, "train-dev gap", plain_unit, &StudyRun::gap, most);
  more += metric_chart(study, "expected calibration error", percent_unit, &StudyRun::calibration);
  html += study.arms.size() > 6 ? details("Charts of the train-dev gap and the calibration error", more) : more;
  return html + gap_table(study).html() +
         fine_print(
             "Expected calibration error: mean distance between confidence and accuracy over 15 bins of equal width, "
             "weighted by their sentences.");
}

}  // namespace crisp::report
