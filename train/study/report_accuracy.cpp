// Accuracies, their differences, and the runs behind them.
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/methods/method.h"
#include "train/page/charts.h"
#include "train/page/html.h"
#include "train/study/report_sections.h"

namespace crisp::report {
namespace {

constexpr size_t sentences_shown = 15, longest_text = 240;

Summary accuracy(const StudyArm& arm) { return arm.summary(&StudyRun::accuracy); }

// "3 complete, 1 diverged", where not all are complete.
std::string lost_runs(const StudyArm& arm) {
  std::string tags;
  for (const RunStatus status : {RunStatus::diverged, RunStatus::failed, RunStatus::missing})
    if (const int64_t n = arm.count(status); n > 0)
      tags += fmt::format(" <span class=\"tag{}\">{} {}</span>", status == RunStatus::missing ? "" : " bad", n,
                          status_name(status));
  return tags;
}

RowChart accuracy_chart(const StudyResults& study) {
  RowChart chart;
  for (const StudyArm& arm : study.arms) {
    const Summary s = accuracy(arm);
    DotRow row{arm.name, "", study.is_base(arm), {}, s.n > 1 ? s.mean : unknown, within(s.interval, 0, 1)};
    for (const StudyRun& run : arm.runs) {
      if (run.complete()) {
        row.dots.push_back({run.accuracy(), fmt::format("{}, seed {}: {} of {} = {}", arm.name, run.seed, run.correct,
                                                        run.total, percent(run.accuracy()))});
      } else if (run.status != RunStatus::missing) {
        row.lost_tooltip +=
            fmt::format("{}seed {}: {}", row.lost++ == 0 ? "" : "; ", run.seed, status_name(run.status));
      }
    }
    row.text = s.n == 0 ? "no result" : percent(s.mean) + (s.n > 1 ? " ± " + fixed(100 * s.sd, 2) : "");
    row.text += lost_runs(arm);
    chart.rows.push_back(std::move(row));
  }
  if (const double base = study.base().mean(&StudyRun::accuracy); std::isfinite(base)) chart.reference = base;
  chart.axis = row_axis(chart.rows, {}, "accuracy on the dev set", percent_unit);
  chart.description =
      "Accuracy of each arm with every run as a dot, the mean and its 95 % interval. The table below has "
      "the numbers.";
  return chart;
}

std::string right_counts(const StudyArm& arm) {
  std::vector<std::string> counts;
  int64_t total = 0;
  for (const StudyRun& run : arm.runs) {
    counts.push_back(run.complete() ? fmt::format("{}", run.correct) : status_name(run.status));
    total = std::max(total, run.total);
  }
  return fmt::format("{}{}", fmt::join(counts, ", "), total > 0 ? " of " + grouped(total) : "");
}

Table accuracy_table(const StudyResults& study) {
  std::vector<std::string> seeds;
  for (const uint64_t seed : study.seeds) seeds.push_back(fmt::format("{}", seed));
  return arm_table(
      study,
      "Sentences right, " + std::string(seeds.size() == 1 ? "with the seed " : "in the order of the seeds ") +
          listed(seeds),
      {{"runs", [](const StudyArm& arm) { return fmt::format("{} of {}", accuracy(arm).n, arm.runs.size()); }},
       {"mean", [](const StudyArm& arm) { return percent(accuracy(arm).mean); }},
       {"SD, points", [](const StudyArm& arm) { return fixed(100 * accuracy(arm).sd, 2); }},
       {"95 % interval of the mean",
        [](const StudyArm& arm) {
          const Interval95 range = within(accuracy(arm).interval, 0, 1);
          return known(range) ? percent(range.low) + " to " + percent(range.high) : fixed(unknown, 0);
        }},
       {"right, of each seed", right_counts}});
}

std::string mcnemar_cell(const McNemar& m) {
  return fmt::format("{}\u00A0:\u00A0{}, p\u00A0{}", m.only_second, m.only_first, p_value(m.p_value));
}

bool several_arms(const StudyResults& study) { return study.comparisons.size() > 1; }

std::string detectable_cell(double difference) { return difference > 1 ? "&gt;\u00A0100" : fixed(100 * difference, 2); }

Table difference_table(const StudyResults& study) {
  using C = ArmComparison;
  std::vector<Column<C>> columns{
      {"pairs", [](const C& c) { return grouped(c.accuracy.n); }},
      {"mean", [](const C& c) { return points(c.accuracy.mean); }},
      {"SD", [](const C& c) { return fixed(100 * c.accuracy.sd, 2); }},
      {"95 % by t", [](const C& c) { return difference_interval(c.accuracy.t_interval); }},
      {"95 % by bootstrap", [](const C& c) { return interval(c.accuracy.bootstrap, 100, 2); }},
      {"95 % over seeds and sentences", [](const C& c) { return interval(c.two_level, 100, 2); }},
      {"p", [](const C& c) { return p_value(c.accuracy.p_value); }},
      {"p by Holm", [](const C& c) { return p_value(c.adjusted_p); }},
      {"seen with 80 %", [](const C& c) { return detectable_cell(c.detectable); }}};
  if (several_arms(study))
    columns.push_back(
        {"seen with 80 %, corrected", [](const C& c) { return detectable_cell(c.detectable_corrected); }});
  return comparison_table(study, "Accuracy of the arm minus the baseline’s, in points", columns);
}

// What the difference table's columns are.
std::string column_words(const StudyResults& study) {
  std::string text =
      "<em>p</em>: paired t test. <em>p by Holm</em>: corrected for all arms of this table, those without a p "
      "included. <em>Seen with 80 %</em>: the true difference that so many seeds with this spread show at 5 % in four "
      "of five studies; ";
  if (several_arms(study)) text += "<em>corrected</em>: at " + holm_level(study) + "; ";
  text +=
      "a dash where one pair, or differences that are all equal, show no spread, and above 100 where no possible "
      "difference would do. The first two intervals are about new seeds on the same sentences, the third about new "
      "seeds and new sentences; one pair has none of them. With few seeds a bootstrap over seeds is too narrow; the t "
      "interval is the one to cite.";
  const auto cut = [](const ArmComparison& c) {
    return c.accuracy.t_interval.low < -1 || c.accuracy.t_interval.high > 1;
  };
  if (std::any_of(study.comparisons.begin(), study.comparisons.end(), cut))
    text += " It is cut at 100 points either way, beyond which no difference is possible.";
  return text;
}

Table mcnemar_table(const StudyResults& study) {
  Table table("Sentences that only the arm has right : only the baseline, and the exact two-sided p");
  std::vector<std::string> header{"arm"};
  for (const uint64_t seed : study.seeds) header.push_back(fmt::format("seed {}", seed));
  header.emplace_back("all seeds added");
  table.header(header);
  for (const ArmComparison& c : study.comparisons) {
    if (!c.by_example) continue;
    std::vector<std::string> cells{escape(study.arms[c.arm].name)};
    for (const uint64_t seed : study.seeds) {
      const auto at = static_cast<size_t>(std::find(c.seeds.begin(), c.seeds.end(), seed) - c.seeds.begin());
      cells.push_back(at < c.mcnemar.size() ? mcnemar_cell(c.mcnemar[at]) : fixed(unknown, 0));
    }
    cells.push_back(mcnemar_cell(c.pooled));
    table.row(cells);
  }
  return table;
}

// Whether training computes all rows of the last layer instead of [CLS] alone (model/README.md), where dropout then
// draws other numbers.
bool whole_last_layer(const StudyArm& arm) {
  return arm.any_complete([](const StudyRun& run) {
    const SparsityConfig& c = run.sparse_attention;
    return about(c.method).whole_matrix && c.applies(std::ssize(c.layers) - 1, true);
  });
}

std::string pairing_words(const StudyResults& study) {
  std::string text =
      "An arm’s run and the baseline’s run with the same seed share their initial head, order of sentences and "
      "dropout, so they are compared in pairs.";
  std::vector<std::string> names;
  for (const ArmComparison& c : study.comparisons)
    if (whole_last_layer(study.arms[c.arm]) != whole_last_layer(study.base()) && !c.seeds.empty())
      names.push_back(escape(study.arms[c.arm].name));
  if (names.empty()) return text;
  std::vector<std::string> methods;
  for (const Method* method : all_methods())
    if (method->whole_matrix) methods.push_back(fmt::format("<code>{}</code>", method->word));
  return text + fmt::format(
                    " With {} the last layer is computed for all tokens instead of [CLS] alone, "
                    "so that dropout draws other numbers there: in that layer {} and the baseline do not share it.",
                    listed(methods), listed(names));
}

RowChart difference_chart(const StudyResults& study) {
  RowChart chart;
  for (const ArmComparison& c : study.comparisons) {
    const StudyArm& arm = study.arms[c.arm];
    DotRow row{.label = arm.name,
               .mean = c.accuracy.n > 1 ? c.accuracy.mean : unknown,
               .interval = within(c.accuracy.t_interval, -1, 1),
               .others = {c.accuracy.bootstrap, c.two_level}};
    for (size_t s = 0; s < study.seeds.size(); ++s) {
      const double difference = arm.runs[s].accuracy() - study.base().runs[s].accuracy();
      if (std::isfinite(difference))
        row.dots.push_back({difference, fmt::format("{} minus {}, seed {}: {} points", arm.name, study.base().name,
                                                    study.seeds[s], points(difference))});
    }
    row.text = c.accuracy.n == 0 ? "no pair of runs" : points(c.accuracy.mean) + " points";
    if (verdict(c) == Verdict::shown) row.text += " <span class=\"tag\">shown</span>";
    chart.rows.push_back(std::move(row));
  }
  chart.reference = 0;
  chart.axis = row_axis(chart.rows, {0}, "difference of accuracies, points", points_unit);
  chart.description =
      "Difference of each arm from the baseline with every seed as a dot, and of several seeds the mean and 95 % "
      "intervals. The table below has the numbers.";
  return chart;
}

}  // namespace

std::string holm_level(const StudyResults& study) {
  return fmt::format("{}, which Holm’s correction for {} comparisons asks of the smallest p",
                     percent(significance / static_cast<double>(study.comparisons.size())), study.comparisons.size());
}

std::string accuracies(const StudyResults& study) {
  std::string caption = "A dot is a run";
  if (study.seeds.size() > 1)
    caption +=
        "; the upright line is the mean, the horizontal one Student’s 95 % interval of it over seeds. Right: mean ± "
        "standard deviation in points";
  caption += ".";
  if (study.arms.size() > 1) caption += " Dashed: the baseline’s mean.";
  if (study.lost() > 0) caption += " A cross at the left end is a run that diverged or failed.";
  const auto beyond = [](const StudyArm& arm) {
    return accuracy(arm).interval.low < 0 || accuracy(arm).interval.high > 1;
  };
  return figure(accuracy_chart(study).html(), caption) + accuracy_table(study).html() +
         (arms_where(study, beyond).empty()
              ? ""
              : fine_print("Student’s interval of few runs that differ much reaches beyond what an accuracy can be. It "
                           "is cut at 0 and 100 %."));
}

std::string differences(const StudyResults& study) {
  if (study.comparisons.empty()) return "";
  const auto any = [&](auto has) { return std::any_of(study.comparisons.begin(), study.comparisons.end(), has); };
  if (!any([](const ArmComparison& c) { return !c.seeds.empty(); }))
    return paragraph("No seed is complete in the baseline and in another arm, so there is nothing to compare yet.");
  std::string caption = "A dot is a seed. ";
  if (any([](const ArmComparison& c) { return c.accuracy.n > 1; })) {
    caption += "Upper, coloured line: Student’s 95 % interval of the mean; grey: bootstrap over seeds";
    if (any([](const ArmComparison& c) { return known(c.two_level); }))
      caption += "; grey, dashed: bootstrap over seeds and sentences";
    caption += ". An interval that leaves the chart has no cap there.";
  } else {
    caption += "One pair of runs has no interval over seeds.";
  }
  std::string html = paragraph(pairing_words(study)) + figure(difference_chart(study).html(), caption);
  html += difference_table(study).html() + fine_print(column_words(study));
  if (const Table table = mcnemar_table(study); !table.empty())
    html += details("McNemar’s exact test, by seed",
                    table.html() + fine_print("It compares two models, not two methods. The last column takes answers "
                                              "of different seeds to one sentence for independent, which they are not: "
                                              "its p is too small."));
  return html;
}

std::string all_runs(const StudyResults& study) {
  Table table("");
  table.header({"arm", "seed", "status", "right", "accuracy", "dev loss", "calibration error", "effective sparsity",
                "train loss", "seconds", "what was said"});
  for (const StudyArm& arm : study.arms) {
    for (const StudyRun& r : arm.runs) {
      const char* kind = r.complete() ? "" : r.status == RunStatus::missing ? "tag" : "tag bad";
      const std::string right = r.complete() ? fmt::format("{} of {}", r.correct, r.total) : fixed(unknown, 0);
      table.row({escape(arm.name), fmt::format("{}", r.seed),
                 fmt::format("<span class=\"{}\">{}</span>", kind, status_name(r.status)), right, percent(r.accuracy()),
                 fixed(r.loss, 4), percent(r.calibration, 1), percent(r.sparsity, 1), fixed(r.train_loss, 4),
                 fixed(r.seconds, 0), r.message.empty() ? "" : "<span class=\"said\">" + escape(r.message) + "</span>"},
                study.is_base(arm));
    }
  }
  return study.arms.size() * study.seeds.size() > 24 ? details("The table of all runs", table.html()) : table.html();
}

std::string disagreements(const StudyResults& study) {
  // Of an arm: how many of its runs have each sentence right.
  struct Counts {
    std::string name;
    std::vector<int64_t> right;
    int64_t runs = 0;
    double rate(size_t e) const { return static_cast<double>(right[e]) / static_cast<double>(runs); }
  };
  std::vector<Counts> arms;
  for (const StudyArm& arm : study.arms) {
    Counts counts{escape(arm.name), std::vector<int64_t>(study.examples.size())};
    for (const StudyRun* run : arm.complete_runs()) {
      if (run->right.size() != study.examples.size()) continue;
      for (size_t e = 0; e < run->right.size(); ++e) counts.right[e] += run->right[e];
      ++counts.runs;
    }
    if (counts.runs > 0) arms.push_back(std::move(counts));
  }
  if (arms.size() < 2 || study.examples.empty()) return "";
  std::vector<double> spreads;
  for (size_t e = 0; e < study.examples.size(); ++e) {
    const auto [least, most] = std::minmax_element(
        arms.begin(), arms.end(), [&](const Counts& a, const Counts& b) { return a.rate(e) < b.rate(e); });
    spreads.push_back(most->rate(e) - least->rate(e));
  }
  std::vector<size_t> order(study.examples.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return spreads[a] > spreads[b]; });
  std::vector<std::string> lines;
  for (const size_t e : order) {
    if (lines.size() == sentences_shown || spreads[e] == 0) break;
    std::string text = study.examples[e];
    if (text.size() > longest_text) {
      size_t end = longest_text;
      while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80) --end;
      text = text.substr(0, end) + " …";
    }
    std::vector<std::string> counts;
    for (const Counts& arm : arms)
      counts.push_back(fmt::format("<span class=\"nowrap\">{} {}/{}</span>", arm.name, arm.right[e], arm.runs));
    lines.push_back(fmt::format("“{}” (label {})<br/><span class=\"small\">{}</span>", escape(text), study.labels[e],
                                fmt::join(counts, ", ")));
  }
  if (lines.empty()) return "";
  return details(
      fmt::format("The {} with the largest differences", counted(std::ssize(lines), "sentence", "sentences")),
      paragraph("Beside each arm: how many of its runs have the sentence right. Picked for their differences, "
                "so they say nothing about which arm is better.") +
          bullets(lines));
}

}  // namespace crisp::report
