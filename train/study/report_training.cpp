// What the models do beside their accuracy: losses over training, the train-dev gap, calibration.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "train/page/charts.h"
#include "train/page/html.h"
#include "train/study/report_sections.h"

namespace crisp::report {
namespace {

constexpr size_t arms_in_one_chart = 5;  // what colours and dashes keep apart
constexpr size_t most_points = 120;      // of a curve

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

void thin(Curve& curve) {
  const size_t n = curve.x.size();
  if (n <= most_points) return;
  for (std::vector<double>* list : {&curve.x, &curve.y, &curve.low, &curve.high}) {
    if (list->empty()) continue;
    std::vector<double> kept;
    for (size_t i = 0; i < most_points; ++i) kept.push_back((*list)[i * (n - 1) / (most_points - 1)]);
    *list = std::move(kept);
  }
}

// The finite points by step; of two at one step the later.
std::map<int64_t, CurvePoint> by_step(const Points& points) {
  std::map<int64_t, CurvePoint> map;
  for (const CurvePoint& p : points)
    if (std::isfinite(p.value)) map[p.step] = p;
  return map;
}

Points smoothed_if_noisy(const Points& points, Member member) {
  return member == &StudyRun::training_losses ? smoothed(points) : points;
}

// An arm's complete runs at the steps that all of them have, as far as the first of them ends: [run][point]. Of runs
// whose curves are damaged only where the arm has no others.
std::vector<Points> common_points(const StudyArm& arm, Member member) {
  const bool any_whole = arm.any_complete(&StudyRun::whole_curves);
  std::vector<std::map<int64_t, CurvePoint>> all;
  for (const StudyRun* run : arm.complete_runs())
    if (auto points = by_step(run->*member); !points.empty() && (run->whole_curves || !any_whole))
      all.push_back(std::move(points));
  std::vector<Points> common(all.size());
  if (all.empty()) return common;
  for (const auto& [step, point] : all[0]) {
    const int64_t at = step;
    if (!std::all_of(all.begin(), all.end(), [&](const auto& points) { return points.contains(at); })) continue;
    for (size_t r = 0; r < all.size(); ++r) common[r].push_back(all[r].at(at));
  }
  return common;
}

// The mean over an arm's runs, and the band from the smallest to the largest.
Curve mean_curve(const StudyArm& arm, Member member, int colour) {
  std::vector<Points> runs = common_points(arm, member);
  for (Points& points : runs) points = smoothed_if_noisy(points, member);
  Curve curve{.label = arm.name, .colour = colour};
  for (size_t i = 0; !runs.empty() && i < runs[0].size(); ++i) {
    std::vector<double> values;
    for (const Points& points : runs) values.push_back(points[i].value);
    curve.x.push_back(runs[0][i].epoch);
    curve.y.push_back(mean(values));
    if (runs.size() < 2) continue;
    const Interval95 band = range_of(values);
    curve.low.push_back(band.low);
    curve.high.push_back(band.high);
  }
  thin(curve);
  return curve;
}

// Runs without a result, as far as they came.
std::vector<Curve> lost_curves(const StudyArm& arm, Member member) {
  std::vector<Curve> curves;
  for (const StudyRun& run : arm.runs) {
    if (run.status != RunStatus::diverged && run.status != RunStatus::failed) continue;
    Curve curve{.label = fmt::format("{}, seed {}: {}", arm.name, run.seed, status_name(run.status)),
                .colour = Curve::lost};
    for (const CurvePoint& p : smoothed_if_noisy(run.*member, member))
      if (std::isfinite(p.value)) curve.x.push_back(p.epoch), curve.y.push_back(p.value);
    thin(curve);
    if (!curve.x.empty()) curves.push_back(std::move(curve));
  }
  return curves;
}

// The scale is that of complete runs; one that diverged leaves the picture, and is cut there. One that blew up leaves
// it, too.
Axis value_axis(const std::vector<Curve>& curves, const char* title, double most) {
  std::vector<double> values;
  for (const Curve& curve : curves)
    for (const auto* list : {&curve.y, &curve.low, &curve.high})
      values.insert(values.end(), list->begin(), list->end());
  return make_axis(robust(values, most), title, plain_unit);
}

// "aggressive (up to 1.5e16)" of each curve that leaves the scale.
std::vector<std::string> outside_words(const std::vector<Curve>& curves, const Axis& y) {
  std::vector<std::string> words;
  for (const Curve& curve : curves) {
    double most = y.high;
    for (const auto* list : {&curve.y, &curve.high})
      for (const double v : *list) most = std::max(most, v);
    if (!y.holds(most)) words.push_back(fmt::format("{} (up to {})", escape(curve.label), fixed(most, 2)));
  }
  return words;
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
  return make_axis({0, range_of(values).high}, "epochs", plain_unit);
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
  const Axis y = value_axis(drawn.empty() ? lost : drawn, what, blown_up * loss_of_chance(study));
  const std::string note = outside_note(outside_words(drawn, y));
  for (Curve& curve : lost) cut_at(curve, y.high);
  std::vector<Curve> all = drawn;
  all.insert(all.end(), lost.begin(), lost.end());
  const Axis x = epoch_axis(all);
  const std::string description = fmt::format("{} over training, mean of each arm’s runs.", what);
  if (study.arms.size() <= arms_in_one_chart) return legend(all) + CurveChart{x, y, description, all}.html() + note;

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
         fmt::format("<p class=\"small\">Up: {}; across: epochs. Dashed: {}.</p>\n", what, escape(study.base().name)) +
         note;
}

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

double loss_of_chance(const StudyResults& study) {
  size_t classes = 2;
  for (const StudyArm& arm : study.arms)
    for (const StudyRun& run : arm.runs)
      if (!run.logits.empty()) classes = std::max(classes, run.logits[0].size());
  return std::log(static_cast<double>(classes));
}

std::vector<std::string> unequal_lengths(const StudyResults& study) {
  std::vector<std::string> words;
  for (const StudyArm& arm : study.arms) {
    const auto [least, most] = range_of(arm.values(&StudyRun::steps));
    if (least < most)
      words.push_back(fmt::format("{} ({} to {} steps)", escape(arm.name), grouped(static_cast<int64_t>(least)),
                                  grouped(static_cast<int64_t>(most))));
  }
  return words;
}

std::string loss_curves(const StudyResults& study) {
  std::string ends;
  if (const auto arms = unequal_lengths(study); !arms.empty())
    ends = "The line of an arm whose runs ended at different steps ends with the first of them: " + listed(arms) + ". ";
  std::string html;
  if (const std::string chart = curves_html(study, &StudyRun::training_losses, "training loss"); !chart.empty())
    html += "<h3>Training loss</h3>\n" +
            figure(chart,
                   "With dropout, as logged; each run is smoothed by a centred moving mean over a twentieth of its "
                   "points. A line is the mean of an arm’s complete runs, the band reaches from the lowest to the "
                   "highest. " +
                       ends +
                       (study.lost() > 0 ? "A run that diverged or failed is drawn by itself, until it ends or leaves "
                                           "the scale."
                                         : ""));
  const auto several_evaluations = [](const StudyArm& arm) {
    return std::any_of(arm.runs.begin(), arm.runs.end(), [](const auto& run) { return run.dev_losses.size() > 1; });
  };
  if (arms_where(study, several_evaluations).empty()) return html;
  if (const std::string chart = curves_html(study, &StudyRun::dev_losses, "dev loss"); !chart.empty())
    html += "<h3>Dev loss</h3>\n" + figure(chart, ends);
  return html;
}

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
