// Losses over training, and what the models do on the dev set beside their accuracy.
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

constexpr size_t arms_in_one_chart = 5;  // what colours and dashes keep apart
constexpr size_t most_points = 120;      // of a curve
constexpr size_t most_evaluations = 6;   // columns of the table of dev losses

using Points = std::vector<CurvePoint>;
using Member = Points StudyRun::*;

// The centred moving mean over about a twentieth of the points, fewer at the ends, so that it stays symmetric.
Points smoothed(const Points& points) {
  const size_t half = points.size() / 40;
  Points result = points;
  for (size_t i = 0; i < points.size(); ++i) {
    const size_t reach = std::min({half, i, points.size() - 1 - i});
    double sum = 0;
    for (size_t k = i - reach; k <= i + reach; ++k) sum += points[k].value;
    result[i].value = sum / static_cast<double>(2 * reach + 1);
  }
  return result;
}

Points thinned(const Points& points) {
  if (points.size() <= most_points) return points;
  Points result;
  for (size_t i = 0; i < most_points; ++i) result.push_back(points[i * (points.size() - 1) / (most_points - 1)]);
  return result;
}

Points curve_of(const StudyRun& run, Member member) {
  const Points& points = run.*member;
  return member == &StudyRun::training_losses ? thinned(smoothed(points)) : points;
}

// The mean over an arm's complete runs, and the band from the smallest to the largest, at the steps that all have.
Curve mean_curve(const StudyArm& arm, Member member, int colour) {
  std::map<int64_t, std::vector<CurvePoint>> at_step;
  const auto runs = arm.complete_runs();
  for (const StudyRun* run : runs)
    for (const CurvePoint& p : curve_of(*run, member))
      if (std::isfinite(p.value)) at_step[p.step].push_back(p);
  Curve curve{.label = arm.name, .colour = colour};
  for (const auto& [step, points] : at_step) {
    if (points.size() != runs.size()) continue;
    double sum = 0, low = points[0].value, high = low;
    for (const CurvePoint& p : points) {
      sum += p.value;
      low = std::min(low, p.value), high = std::max(high, p.value);
    }
    curve.x.push_back(points[0].epoch);
    curve.y.push_back(sum / static_cast<double>(points.size()));
    if (runs.size() > 1) curve.low.push_back(low), curve.high.push_back(high);
  }
  return curve;
}

// Runs without a result, as far as they came.
std::vector<Curve> lost_curves(const StudyArm& arm, Member member) {
  std::vector<Curve> curves;
  for (const StudyRun& run : arm.runs) {
    if (run.status != RunStatus::diverged && run.status != RunStatus::failed) continue;
    Curve curve{.label = fmt::format("{}, seed {}: {}", arm.name, run.seed, status_name(run.status)),
                .colour = Curve::lost};
    for (const CurvePoint& p : curve_of(run, member))
      if (std::isfinite(p.value)) curve.x.push_back(p.epoch), curve.y.push_back(p.value);
    if (!curve.x.empty()) curves.push_back(std::move(curve));
  }
  return curves;
}

// The scale is that of complete runs; one that diverged leaves the picture, and is cut there.
Axis value_axis(const std::vector<Curve>& curves, const char* title) {
  std::vector<double> values;
  for (const Curve& curve : curves) {
    values.insert(values.end(), curve.y.begin(), curve.y.end());
    values.insert(values.end(), curve.low.begin(), curve.low.end());
    values.insert(values.end(), curve.high.begin(), curve.high.end());
  }
  return make_axis(values, title, plain_unit);
}

void cut_at(Curve& curve, double high) {
  const auto out = std::find_if(curve.y.begin(), curve.y.end(), [&](double v) { return v > high; });
  if (out == curve.y.end()) return;
  const auto kept = static_cast<size_t>(out - curve.y.begin()) + 1;
  curve.x.resize(kept);
  curve.y.resize(kept);
}

Axis epoch_axis(const std::vector<Curve>& curves) {
  std::vector<double> values{0};
  for (const Curve& curve : curves) values.insert(values.end(), curve.x.begin(), curve.x.end());
  const double end = *std::max_element(values.begin(), values.end());
  return make_axis({0, end}, "epochs", plain_unit);
}

// One chart while the arms are few, else a panel for each arm beside the baseline.
std::string curves_html(const StudyResults& study, Member member, const char* what) {
  std::vector<Curve> means(study.arms.size());
  int colour = 0;
  for (size_t i = 0; i < study.arms.size(); ++i)
    means[i] = mean_curve(study.arms[i], member, i == study.baseline ? 0 : 1 + colour++ % 4);
  std::vector<Curve> drawn;
  for (const Curve& curve : means)
    if (!curve.x.empty()) drawn.push_back(curve);
  std::vector<Curve> lost;
  for (size_t i = 0; i < study.arms.size(); ++i)
    for (Curve& curve : lost_curves(study.arms[i], member)) {
      curve.arm = i;
      lost.push_back(std::move(curve));
    }
  if (drawn.empty() && lost.empty()) return "";
  const Axis y = value_axis(drawn.empty() ? lost : drawn, what);
  for (Curve& curve : lost) cut_at(curve, y.high);
  std::vector<Curve> all = drawn;
  all.insert(all.end(), lost.begin(), lost.end());
  const Axis x = epoch_axis(all);
  const std::string description = fmt::format("{} over training, mean of each arm’s runs.", what);
  if (study.arms.size() <= arms_in_one_chart) return legend(all) + CurveChart{x, y, description, all}.html();

  std::string html = "<div class=\"panels\">\n";
  const Curve& base = means[study.baseline];
  for (size_t i = 0; i < study.arms.size(); ++i) {
    if (i == study.baseline) continue;
    CurveChart chart{x, y, fmt::format("{} of {} beside {}", what, study.arms[i].name, study.base().name), {}, 130};
    chart.x.title.clear();
    if (!base.x.empty()) {
      Curve line = base;
      line.low.clear(), line.high.clear();
      chart.curves.push_back(line);
    }
    if (!means[i].x.empty()) {
      chart.curves.push_back(means[i]);
      chart.curves.back().colour = 1;
    }
    for (const Curve& curve : lost)
      if (curve.arm == i) chart.curves.push_back(curve);
    html += "<div><h4>" + escape(study.arms[i].name) + "</h4>" + chart.html() + "</div>\n";
  }
  return html + "</div>\n" +
         fmt::format("<p class=\"small\">Up: {}; across: epochs. Dashed: {}.</p>\n", what, escape(study.base().name));
}

bool several_evaluations(const StudyResults& study) {
  for (const StudyArm& arm : study.arms)
    for (const StudyRun& run : arm.runs)
      if (run.dev_losses.size() > 1) return true;
  return false;
}

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
         points(c.calibration.mean), interval(c.calibration.t_interval, 100, 2)},
        i == study.baseline);
  }
  return table;
}

template <class Number>
std::string metric_chart(const StudyResults& study, const std::string& title, Unit unit, Number number) {
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
  chart.axis = row_axis(chart.rows, {}, title, unit);
  chart.description = title + " of each arm with every run as a dot. The table has the numbers.";
  return "<figure>" + chart.html() + "</figure>\n";
}

}  // namespace

std::string loss_curves(const StudyResults& study) {
  std::string html;
  if (const std::string chart = curves_html(study, &StudyRun::training_losses, "training loss"); !chart.empty())
    html +=
        "<h3>Training loss</h3>\n<figure>" + chart +
        "<figcaption>With dropout, as logged; each run is smoothed by a centred moving mean over a twentieth of its "
        "points. A line is the mean of an arm’s complete runs, the band reaches from the lowest to the highest. " +
        (study.count(RunStatus::diverged) + study.count(RunStatus::failed) > 0
             ? "A run that diverged or failed is drawn by itself, until it ends or leaves the scale."
             : "") +
        "</figcaption></figure>\n";
  if (!several_evaluations(study)) return html;
  if (const std::string chart = curves_html(study, &StudyRun::dev_losses, "dev loss"); !chart.empty())
    html += "<h3>Dev loss</h3>\n<figure>" + chart + "</figure>\n";
  return html;
}

std::string generalisation(const StudyResults& study) {
  if (study.count(RunStatus::complete) == 0) return "";
  std::string html = metric_chart(study, "reported dev loss", plain_unit, [](const StudyRun& r) { return r.loss; });
  html += dev_loss_table(study).html();
  if (const Table table = loss_difference_table(study); !table.empty()) html += table.html();
  std::string more;
  bool any_gap = false;
  for (const StudyArm& arm : study.arms) any_gap |= arm.summary([](const StudyRun& r) { return r.gap(); }).n > 0;
  if (any_gap) more += metric_chart(study, "train-dev gap", plain_unit, [](const StudyRun& r) { return r.gap(); });
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
