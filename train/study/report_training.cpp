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
  size_t runs = 0;
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
    if (entry.first.size() == runs) common.push_back(entry.second);
  if (common.size() <= most_evaluations) return common;
  std::vector<double> picked;
  for (size_t i = 1; i <= most_evaluations; ++i) picked.push_back(common[i * common.size() / most_evaluations - 1]);
  return picked;
}

Table dev_loss_table(const StudyResults& study) {
  const std::vector<double> epochs = common_epochs(study);
  Table table("Mean dev loss at the epochs that all runs have evaluated, and at the evaluations that the runs report");
  std::vector<std::string> header{"arm"};
  for (const double epoch : epochs) header.push_back(fmt::format("epoch {:.4g}", epoch));
  for (const char* cell : {"reported", "SD"}) header.emplace_back(cell);
  table.header(header);
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const StudyArm& arm = study.arms[i];
    std::vector<std::string> cells{escape(arm.name)};
    for (const double epoch : epochs) {
      cells.push_back(fixed(arm.summary([&](const StudyRun& run) {
                                 double loss = unknown;
                                 for (const CurvePoint& p : run.dev_losses)
                                   if (same_point(epoch, p)) loss = p.value;
                                 return loss;
                               })
                                .mean,
                            4));
    }
    const Summary loss = arm.summary([](const StudyRun& r) { return r.loss; });
    cells.push_back(fixed(loss.mean, 4));
    cells.push_back(fixed(loss.sd, 4));
    table.row(cells, i == study.baseline);
  }
  return table;
}

std::string difference_cell(const PairedComparison& c) {
  return with_sign(c.mean, 4) +
         (c.n > 1 ? "<br/><span class=\"small\">" + interval(c.t_interval, 1, 4) + "</span>" : "");
}

Table loss_difference_table(const StudyResults& study) {
  const std::vector<double> epochs = common_epochs(study);
  Table table(
      "Dev loss of the arm minus the baseline’s at the same epoch, mean over paired seeds, below it Student’s 95 % "
      "interval; last, of the evaluations that the runs report, which may be of different epochs");
  std::vector<std::string> header{"arm", "pairs"};
  for (const double epoch : epochs) header.push_back(fmt::format("epoch {:.4g}", epoch));
  header.emplace_back("reported");
  table.header(header);
  for (const ArmComparison& c : study.comparisons) {
    std::vector<std::string> cells{escape(study.arms[c.arm].name), grouped(static_cast<int64_t>(c.seeds.size()))};
    for (const double epoch : epochs) {
      const auto at = std::find_if(c.matched_losses.begin(), c.matched_losses.end(), [&](const MatchedLoss& m) {
        return same_point(epoch, {0, m.epoch, 0});
      });
      cells.push_back(at == c.matched_losses.end() ? fixed(unknown, 0) : difference_cell(at->loss));
    }
    cells.push_back(difference_cell(c.loss));
    table.row(cells);
  }
  return table;
}

Table gap_table(const StudyResults& study) {
  Table table(
      "Train-dev gap (dev loss less training loss, both of the last weights and without dropout) and expected "
      "calibration error (of the evaluation that a run reports), means");
  table.header({"arm", "training loss", "gap", "gap, difference", "95 % by t", "calibration error", "its difference",
                "95 % by t"});
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const StudyArm& arm = study.arms[i];
    ArmComparison c;
    const PairedComparison nothing{0, unknown, unknown, {unknown, unknown}, unknown, {unknown, unknown}};
    c.gap = c.calibration = nothing;
    for (const ArmComparison& other : study.comparisons)
      if (other.arm == i) c = other;
    table.row(
        {escape(arm.name), fixed(arm.summary([](const StudyRun& r) { return r.train_eval_loss; }).mean, 4),
         fixed(arm.summary([](const StudyRun& r) { return r.gap(); }).mean, 4), with_sign(c.gap.mean, 4),
         interval(c.gap.t_interval, 1, 4), percent(arm.summary([](const StudyRun& r) { return r.calibration; }).mean),
         points(c.calibration.mean), difference_interval(c.calibration.t_interval)},
        i == study.baseline);
  }
  return table;
}

// Numbers of a magnitude above `most` have no part in the scale.
template <class Number>
std::string metric_chart(const StudyResults& study, const std::string& title, Unit unit, Number number,
                         double most = std::numeric_limits<double>::infinity()) {
  RowChart chart;
  const auto format = [&](double v) { return fixed(unit.factor * v, unit.factor > 1 ? 1 : 4) + unit.suffix; };
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const StudyArm& arm = study.arms[i];
    const Summary s = arm.summary(number);
    DotRow row{arm.name,  s.n == 0 ? "no result" : format(s.mean), i == study.baseline, {}, s.n > 1 ? s.mean : unknown,
               s.interval};
    for (const StudyRun* run : arm.complete_runs())
      if (const double value = number(*run); std::isfinite(value))
        row.dots.push_back({value, fmt::format("{}, seed {}: {}", arm.name, run->seed, format(value))});
    chart.rows.push_back(std::move(row));
  }
  const Summary base = study.base().summary(number);
  if (base.n > 0) chart.reference = base.mean;
  chart.axis = row_axis(chart.rows, {}, title, unit, most);
  chart.description = title + " of each arm with every run as a dot. The table has the numbers.";
  std::vector<std::string> outside;
  for (const std::string& words : chart.outside()) outside.push_back(escape(words));
  return "<figure>" + chart.html() + outside_note(outside) + "</figure>\n";
}

}  // namespace

std::string generalisation(const StudyResults& study) {
  if (study.count(RunStatus::complete) == 0) return "";
  std::string html = metric_chart(
      study, "reported dev loss", plain_unit, [](const StudyRun& r) { return r.loss; },
      blown_up * loss_of_chance(study));
  html += dev_loss_table(study).html();
  if (const Table table = loss_difference_table(study); !table.empty()) html += table.html();
  std::string more;
  bool any_gap = false;
  for (const StudyArm& arm : study.arms) any_gap |= arm.summary([](const StudyRun& r) { return r.gap(); }).n > 0;
  if (any_gap)
    more += metric_chart(
        study, "train-dev gap", plain_unit, [](const StudyRun& r) { return r.gap(); },
        blown_up * loss_of_chance(study));
  more +=
      metric_chart(study, "expected calibration error", percent_unit, [](const StudyRun& r) { return r.calibration; });
  html += study.arms.size() > 6 ? details("Charts of the train-dev gap and the calibration error", more) : more;
  html += gap_table(study).html();
  return html +
         paragraph(
             "<span class=\"small\">Expected calibration error: mean distance between confidence and accuracy over "
             "15 bins of equal width, weighted by their sentences.</span>");
}

}  // namespace crisp::report
