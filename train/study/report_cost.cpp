// What the arms cost: operations counted, time measured.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "model/methods/method.h"
#include "train/page/charts.h"
#include "train/page/html.h"
#include "train/study/report_sections.h"

namespace crisp::report {
namespace {

constexpr double claimed_saving = 0.2;  // of a layer, at 80 % sparsity: arXiv 2508.06016

// Of one sentence, as the paper counts: attention over the kept pairs alone, and everything if it were dense.
double dense_total(const SentenceFlops& f) { return f.total - f.attention + f.attention_dense; }
double attention_share(const StudyRun& r) { return r.flops.attention_dense / dense_total(r.flops); }

// What can be saved of everything, of runs of one kind; NaN of the others.
double saved(const StudyRun& r) {
  const double needed = about(r.sparse_attention.method).by_scores() ? r.flops.attention_scored : r.flops.attention;
  return (r.flops.attention_dense - needed) / dense_total(r.flops);
}
double saved_by_lists(const StudyRun& r) { return about(r.sparse_attention.method).by_scores() ? unknown : saved(r); }
double saved_by_scores(const StudyRun& r) { return about(r.sparse_attention.method).by_scores() ? saved(r) : unknown; }

// The kernels and numbers of threads of an arm's complete runs.
using Machine = std::pair<std::string, int64_t>;
std::set<Machine> machines_of(const StudyArm& arm) {
  std::set<Machine> machines;
  for (const StudyRun* run : arm.complete_runs()) machines.emplace(run->instruction_set, run->threads);
  return machines;
}

std::string mega(double flops) { return fixed(flops / 1e6, flops < 1e9 ? 2 : 0); }

}  // namespace

std::string flops(const StudyResults& study) {
  RowChart chart;
  chart.bars = true;
  Table table("Of the forward pass of one dev sentence, on average at its actual length, in millions");
  table.header({"arm", "all", "attention", "attention, if dense", "attention saved", "all saved, keys given",
                "all saved, scores formed first"});
  double share = unknown, most = 0;
  std::string best;
  for (const StudyArm& arm : study.arms) {
    const auto mean = [&](double SentenceFlops::*part) {
      return arm.mean([=](const StudyRun& r) { return r.flops.*part; });
    };
    const double total = mean(&SentenceFlops::total), kept = mean(&SentenceFlops::attention),
                 dense = mean(&SentenceFlops::attention_dense), part = arm.mean(saved);
    if (!std::isfinite(total)) continue;
    if (!std::isfinite(share)) share = arm.mean(attention_share);
    if (part > most) most = part, best = escape(arm.name);
    table.row({escape(arm.name), mega(total), mega(kept), mega(dense), percent(1 - kept / dense, 1),
               percent(arm.mean(saved_by_lists)), percent(arm.mean(saved_by_scores))},
              study.is_base(arm));
    chart.rows.push_back({.label = arm.name, .text = percent(part), .highlighted = study.is_base(arm), .mean = part});
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
      most > 0 ? fmt::format("; the arm that can save most here, {}, saves <strong>{}</strong>", best, percent(most))
               : ""));
  html += figure(chart.html(), "Dashed: the paper’s 20 % per layer.") + table.html();
  return html + paragraphs({sparser_in_training(study)}) +
         fine_print(
             "Matrix products only, two operations for a multiply-add, of every token in every "
             "layer: the last layer counts in full, although it is computed for [CLS] alone here. “Attention” counts "
             "the kept pairs, as the paper does. What can be saved of all depends on the method: one that chooses keys "
             "by their scores, or gives them weights of 0, must form all scores first; one that is given its keys by "
             "position, words, syntax, chance or windows need not (what similarities and trees take is not counted). "
             "The chart shows what can be saved.");
}

std::string time(const StudyResults& study) {
  const auto machines = machines_of(study.base());
  const auto ratio = [&](const StudyArm& arm) {
    return arm.mean(&StudyRun::seconds_per_step) / study.base().mean(&StudyRun::seconds_per_step);
  };
  const auto alike = [&](const StudyArm& arm) { return machines.size() == 1 && machines_of(arm) == machines; };
  const auto timed = [](const StudyArm& arm) { return !arm.values(&StudyRun::seconds_per_step).empty(); };
  const auto apart = [&](const StudyArm& arm) { return !alike(arm) && std::isfinite(ratio(arm)); };
  if (arms_where(study, timed).empty()) return "";
  const auto step = [](const StudyArm& arm) { return arm.summary(&StudyRun::seconds_per_step); };
  // What `part` writes of each machine of an arm, each once.
  const auto each = [](auto part) {
    return [=](const StudyArm& arm) {
      std::set<std::string> words;
      for (const auto& machine : machines_of(arm)) words.insert(part(machine));
      return listed({words.begin(), words.end()});
    };
  };
  const Table table =
      arm_table(study, "Of training, means over runs",
                {{"runs", [=](const StudyArm& arm) { return grouped(step(arm).n); }},
                 {"seconds a run", [](const StudyArm& arm) { return fixed(arm.mean(&StudyRun::seconds), 0); }},
                 {"ms a step", [=](const StudyArm& arm) { return fixed(1000 * step(arm).mean, 1); }},
                 {"SD", [=](const StudyArm& arm) { return fixed(1000 * step(arm).sd, 1); }},
                 {"beside the baseline",
                  [=](const StudyArm& arm) {
                    return alike(arm) && std::isfinite(ratio(arm)) ? fixed(ratio(arm), 2) + "×" : fixed(unknown, 0);
                  }},
                 {"tokens/s", [](const StudyArm& arm) { return fixed(arm.mean(&StudyRun::tokens_per_second), 0); }},
                 {"kernels", each([](const Machine& m) { return "<code>" + escape(m.first) + "</code>"; })},
                 {"threads", each([](const Machine& m) { return fmt::format("{}", m.second); })},
                 {"memory, MB", [](const StudyArm& arm) { return fixed(arm.mean(&StudyRun::peak_bytes) / 1e6, 0); }}});
  return table.html() +
         fine_print(fmt::format(
             "{}These are times of whole training runs as they happened. Where runs shared the machine with each other "
             "or with other programs, they are no measure of a method’s speed; <code>crisp-bench attention</code> "
             "measures that.",
             arms_where(study, apart).empty()
                 ? ""
                 : "No ratio is given where the runs of an arm and of the baseline had different kernels or numbers of "
                   "threads, as on different machines. "));
}

}  // namespace crisp::report
