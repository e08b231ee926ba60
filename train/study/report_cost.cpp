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
double attention_share(const StudyRun& r) { return r.flops.attention_dense / dense_total(r.flops); }

// Whether all scores must be there before an evaluation can tell which keys stay.
bool by_scores(SparseMethod method) {
  switch (method) {
    case SparseMethod::top_k:
    case SparseMethod::top_k_ties:
    case SparseMethod::percentile:
    case SparseMethod::threshold:
    case SparseMethod::bottom_k:
    case SparseMethod::attention_drop:
    case SparseMethod::sparsemax:
    case SparseMethod::entmax15:
      return true;
    case SparseMethod::random_k:
    case SparseMethod::neighbour:
    case SparseMethod::bigbird:
    case SparseMethod::lexical:
    case SparseMethod::syntax:
    case SparseMethod::learned_span:
      break;
  }
  return false;
}
// What can be saved of everything, of runs of one kind; NaN of the others.
double saved_by_lists(const StudyRun& r) {
  return by_scores(r.sparse_attention.method) ? unknown
                                              : (r.flops.attention_dense - r.flops.attention) / dense_total(r.flops);
}
double saved_by_scores(const StudyRun& r) {
  return by_scores(r.sparse_attention.method)
             ? (r.flops.attention_dense - r.flops.attention_scored) / dense_total(r.flops)
             : unknown;
}
double saved(const StudyRun& r) {
  return by_scores(r.sparse_attention.method) ? saved_by_scores(r) : saved_by_lists(r);
}

// The kernels and numbers of threads of an arm's complete runs.
std::set<std::pair<std::string, int64_t>> machines_of(const StudyArm& arm) {
  std::set<std::pair<std::string, int64_t>> machines;
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
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const StudyArm& arm = study.arms[i];
    const auto mean = [&](auto number) { return arm.summary(number).mean; };
    const double total = mean([](const StudyRun& r) { return r.flops.total; });
    if (!std::isfinite(total)) continue;
    const double kept = mean([](const StudyRun& r) { return r.flops.attention; });
    const double dense = mean([](const StudyRun& r) { return r.flops.attention_dense; });
    if (!std::isfinite(share)) share = mean(attention_share);
    if (mean(saved) > most) most = mean(saved), best = escape(arm.name);
    table.row({escape(arm.name), mega(total), mega(kept), mega(dense), percent(1 - kept / dense, 1),
               percent(mean(saved_by_lists)), percent(mean(saved_by_scores))},
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
      most > 0 ? fmt::format("; the arm that can save most here, {}, saves <strong>{}</strong>", best, percent(most))
               : ""));
  html += "<figure>" + chart.html() + "<figcaption>Dashed: the paper’s 20 % per layer.</figcaption></figure>\n" +
          table.html();
  if (const std::string line = sparser_in_training(study); !line.empty()) html += paragraph(line);
  return html +
         paragraph(
             "<span class=\"small\">Matrix products only, two operations for a multiply-add, of every token in every "
             "layer: the last layer counts in full, although it is computed for [CLS] alone here. “Attention” counts "
             "the kept pairs, as the paper does. What can be saved of all depends on the method: one that chooses keys "
             "by their scores, or gives them weights of 0, must form all scores first; one that is given its keys by "
             "position, words, syntax, chance or windows need not (what similarities and trees take is not counted). "
             "The chart shows what can be saved.</span>");
}

std::string time(const StudyResults& study) {
  Table table("Of training, means over runs");
  table.header({"arm", "runs", "seconds a run", "ms a step", "SD", "beside the baseline", "tokens/s", "kernels",
                "threads", "memory, MB"});
  const double base = study.base().summary([](const StudyRun& r) { return r.seconds_per_step(); }).mean;
  const auto base_machines = machines_of(study.base());
  bool any = false, apart = false;
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const StudyArm& arm = study.arms[i];
    const Summary step = arm.summary([](const StudyRun& r) { return r.seconds_per_step(); });
    std::set<std::string> kernels, threads;
    for (const auto& [kernel, n] : machines_of(arm)) {
      kernels.insert("<code>" + escape(kernel) + "</code>");
      threads.insert(fmt::format("{}", n));
    }
    any |= step.n > 0;
    const bool alike = base_machines.size() == 1 && machines_of(arm) == base_machines;
    const double ratio = alike ? step.mean / base : unknown;
    apart |= !alike && std::isfinite(step.mean / base);
    table.row({escape(arm.name), grouped(step.n),
               fixed(arm.summary([](const StudyRun& r) { return r.seconds; }).mean, 0), fixed(1000 * step.mean, 1),
               fixed(1000 * step.sd, 1), std::isfinite(ratio) ? fixed(ratio, 2) + "×" : fixed(unknown, 0),
               fixed(arm.summary([](const StudyRun& r) { return r.tokens_per_second; }).mean, 0),
               listed({kernels.begin(), kernels.end()}), listed({threads.begin(), threads.end()}),
               fixed(arm.summary([](const StudyRun& r) { return r.peak_bytes; }).mean / 1e6, 0)},
              i == study.baseline);
  }
  if (!any) return "";
  return table.html() + paragraph(fmt::format(
                            "<span class=\"small\">{}These are times of whole training runs as they happened. Where "
                            "runs shared the machine with each other or with other programs, they are no measure of a "
                            "method’s speed; <code>crisp-bench attention</code> measures that.</span>",
                            apart ? "No ratio is given where the runs of an arm and of the baseline had different "
                                    "kernels or numbers of threads, as on different machines. "
                                  : ""));
}

}  // namespace crisp::report
