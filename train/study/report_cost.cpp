// What the arms cost: operations counted, time measured.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "train/study/report_charts.h"
#include "train/study/report_html.h"
#include "train/study/report_sections.h"

namespace crisp::report {
namespace {

constexpr double claimed_saving = 0.2;  // of a layer, at 80 % sparsity: arXiv 2508.06016

// Of one sentence, as the paper counts: attention over the kept pairs alone, and everything if it were dense.
double dense_total(const SentenceFlops& f) { return f.total - f.attention + f.attention_dense; }
double saved(const StudyRun& r) { return (r.flops.attention_dense - r.flops.attention) / dense_total(r.flops); }
double attention_share(const StudyRun& r) { return r.flops.attention_dense / dense_total(r.flops); }
// When keys are chosen by their scores, all scores are needed first.
double saved_by_scores(const StudyRun& r) {
  return (r.flops.attention_dense - r.flops.attention_scored) / dense_total(r.flops);
}

std::string mega(double flops) { return fixed(flops / 1e6, flops < 1e9 ? 2 : 0); }

}  // namespace

std::string flops(const StudyResults& study) {
  RowChart chart;
  chart.bars = true;
  Table table("Of the forward pass of one dev sentence, on average at its actual length, in millions");
  table.header({"arm", "all", "attention", "attention, if dense", "attention saved", "all saved",
                "all saved, scores formed first"});
  double share = unknown, most = 0;
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const StudyArm& arm = study.arms[i];
    const auto mean = [&](auto number) { return arm.summary(number).mean; };
    const double total = mean([](const StudyRun& r) { return r.flops.total; });
    if (!std::isfinite(total)) continue;
    const double kept = mean([](const StudyRun& r) { return r.flops.attention; });
    const double dense = mean([](const StudyRun& r) { return r.flops.attention_dense; });
    if (!std::isfinite(share)) share = mean(attention_share);
    most = std::max(most, mean(saved));
    table.row({escape(arm.name), mega(total), mega(kept), mega(dense), percent(1 - kept / dense, 1),
               percent(mean(saved)), percent(mean(saved_by_scores))},
              i == study.baseline);
    chart.rows.push_back({arm.name, percent(mean(saved)), i == study.baseline, {}, mean(saved), {unknown, unknown}});
  }
  if (chart.rows.empty()) return "";
  chart.reference = claimed_saving;
  chart.axis = make_axis({0, claimed_saving, most}, "part of all operations that sparsity removes", percent_unit);
  chart.description = "Part of a forward pass's operations that each arm removes; the dashed line is the paper's 20 %.";
  std::string html = paragraph(fmt::format(
      "Crisp Attention reports 80 % fewer operations in the attention component and quotes that as 20 % per layer. At "
      "the lengths of these sentences, attention’s own two products (QKᵀ and AV) are <strong>{}</strong> of a forward "
      "pass, so that leaving out all of them could save no more than that{}.",
      percent(share),
      most > 0 ? fmt::format("; the arm that saves most here saves <strong>{}</strong>", percent(most)) : ""));
  html += "<figure>" + chart.html() + "<figcaption>Dashed: the paper’s 20 % per layer.</figcaption></figure>\n" +
          table.html();
  return html + paragraph(
                    "<span class=\"small\">Matrix products only, two operations for a multiply-add. An arm that "
                    "chooses keys by their "
                    "scores must form all scores first: the last column counts that.</span>");
}

std::string time(const StudyResults& study) {
  Table table("Of training, means over runs");
  table.header(
      {"arm", "runs", "seconds a run", "ms a step", "SD", "beside the baseline", "tokens/s", "threads", "memory, MB"});
  const double base = study.base().summary([](const StudyRun& r) { return r.seconds_per_step(); }).mean;
  std::set<std::string> machines;
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const StudyArm& arm = study.arms[i];
    const Summary step = arm.summary([](const StudyRun& r) { return r.seconds_per_step(); });
    std::set<int64_t> threads;
    for (const StudyRun* run : arm.complete_runs()) {
      threads.insert(run->threads);
      machines.insert(run->instruction_set);
    }
    std::vector<std::string> words;
    for (const int64_t n : threads) words.push_back(fmt::format("{}", n));
    table.row(
        {escape(arm.name), grouped(step.n), fixed(arm.summary([](const StudyRun& r) { return r.seconds; }).mean, 0),
         fixed(1000 * step.mean, 1), fixed(1000 * step.sd, 1),
         std::isfinite(step.mean / base) ? fixed(step.mean / base, 2) + "×" : fixed(unknown, 0),
         fixed(arm.summary([](const StudyRun& r) { return r.tokens_per_second; }).mean, 0), listed(words),
         fixed(arm.summary([](const StudyRun& r) { return r.peak_bytes; }).mean / 1e6, 0)},
        i == study.baseline);
  }
  if (machines.empty()) return "";
  std::vector<std::string> sets;
  for (const std::string& name : machines) sets.push_back("<code>" + escape(name) + "</code>");
  return table.html() + paragraph(fmt::format(
                            "<span class=\"small\">Kernels: {}. These are times of whole training runs as they "
                            "happened. Where runs shared the "
                            "machine with each other or with other programs, they are no measure of a method’s speed; "
                            "<code>crisp-bench attention</code> measures that.</span>",
                            listed(sets)));
}

}  // namespace crisp::report
