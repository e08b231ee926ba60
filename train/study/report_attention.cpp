// What the heads do: entropy per layer and head, learned degrees. Means over an arm's complete runs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "train/page/charts.h"
#include "train/page/html.h"
#include "train/study/report_sections.h"

namespace crisp::report {
namespace {

using Member = std::vector<double> LayerAttention::*;  // a number of each head
using Heads = std::vector<std::vector<double>>;        // [layer][head]

double at(const std::vector<double>& values, size_t i) { return i < values.size() ? values[i] : unknown; }

Heads head_means(const StudyArm& arm, Member member) {
  Heads means(arm.layer_count());
  for (size_t l = 0; l < means.size(); ++l) {
    const std::vector<double> none;
    const auto of = [&](const StudyRun& run) -> const auto& {
      return l < run.layers.size() ? run.layers[l].*member : none;
    };
    size_t heads = 0;
    for (const StudyRun* run : arm.complete_runs()) heads = std::max(heads, of(*run).size());
    for (size_t h = 0; h < heads; ++h)
      means[l].push_back(arm.mean([&](const StudyRun& run) { return at(of(run), h); }));
  }
  return means;
}

// The largest, of all arms; -infinity without any.
double largest_of(const StudyResults& study, Member member) {
  std::vector<double> all;
  for (const StudyArm& arm : study.arms)
    for (const auto& layer : head_means(arm, member)) all.insert(all.end(), layer.begin(), layer.end());
  return range_of(all).high;
}

std::string heat_maps(const StudyResults& study, Member member, double scale, const char* what, const char* unit) {
  std::string html = "<div class=\"panels\">\n";
  for (const StudyArm& arm : study.arms) {
    HeatMap map{arm.name, fmt::format("{} of {}, layers downwards, heads across", what, arm.name), scale,
                head_means(arm, member), [&](size_t layer, size_t head, double value) {
                  return fmt::format("{}, layer {}, head {}: {}{}", arm.name, layer, head, fixed(value, 3),
                                     std::isfinite(value) ? unit : " (each query keeps one key)");
                }};
    if (!map.rows.empty() && !map.rows[0].empty()) html += map.html();
  }
  return html + "</div>\n";
}

double finite_mean(const std::vector<double>& values) {
  std::vector<double> finite;
  std::copy_if(values.begin(), values.end(), std::back_inserter(finite), [](double v) { return std::isfinite(v); });
  return mean(finite);
}

// Two rows for each arm and layer would be hard to read, so raw and normalised share a cell.
Table head_table(const StudyResults& study) {
  std::vector<Column<StudyArm>> columns;
  for (size_t l = 0; l < study.layer_count(); ++l)
    columns.push_back({fmt::format("layer {}", l), [=](const StudyArm& arm) {
                         const auto mean_of = [&](Member member) {
                           const Heads means = head_means(arm, member);
                           return fixed(l < means.size() ? finite_mean(means[l]) : unknown, 2);
                         };
                         return fmt::format("{} ({})", mean_of(&LayerAttention::entropy),
                                            mean_of(&LayerAttention::normalised));
                       }});
  return arm_table(study, "Mean entropy over heads in each layer: nats, and normalised in brackets", columns);
}

// Two numbers of each head, the second in brackets; no row for a layer that has none.
Table every_head(const StudyResults& study, const std::string& caption, Member first, Member second, int decimals) {
  Table table(caption);
  size_t heads = 0;
  for (const StudyArm& arm : study.arms)
    for (const auto& layer : head_means(arm, first)) heads = std::max(heads, layer.size());
  std::vector<std::string> header{"arm, layer"};
  for (size_t h = 0; h < heads; ++h) header.push_back(fmt::format("head {}", h));
  table.header(header);
  for (const StudyArm& arm : study.arms) {
    const Heads as = head_means(arm, first), bs = head_means(arm, second);
    for (size_t l = 0; l < as.size(); ++l) {
      if (as[l].empty()) continue;
      std::vector<std::string> cells{fmt::format("{}, {}", escape(arm.name), l)};
      for (size_t h = 0; h < heads; ++h)
        cells.push_back(fmt::format("{} ({})", fixed(at(as[l], h), decimals), fixed(at(bs[l], h), decimals)));
      table.row(cells);
    }
  }
  return table;
}

}  // namespace

std::string entropy(const StudyResults& study) {
  const double largest = largest_of(study, &LayerAttention::entropy);
  if (!std::isfinite(largest)) return "";
  std::string html = paragraph(
      "Entropy of the attention weights on the dev set, mean over queries and runs; layers downwards and heads across, "
      "both counted from 0. A mask lowers the raw entropy by itself, since fewer keys are left to spread over; only "
      "the normalised one, divided by the log of the number of allowed keys, compares arms of different sparsity.");
  html += "<h3>Raw, in nats</h3>\n" + heat_key(largest, "nats", 2) +
          heat_maps(study, &LayerAttention::entropy, largest, "Attention entropy", " nats");
  if (std::isfinite(largest_of(study, &LayerAttention::normalised)))
    html += "<h3>Normalised by the log of the allowed keys</h3>\n" + heat_key(1, "(even over the allowed keys)", 0) +
            heat_maps(study, &LayerAttention::normalised, 1, "Normalised attention entropy", "");
  html += "<h3>Per layer</h3>\n" + head_table(study).html();
  return html +
         details("The table of all heads", every_head(study, "Entropy of each head: nats, and normalised in brackets",
                                                      &LayerAttention::entropy, &LayerAttention::normalised, 2)
                                               .html());
}

std::string degrees(const StudyResults& study) {
  const Table table = every_head(
      study, "Window of each head, how many positions away a key may be, and in brackets the learned degree z",
      &LayerAttention::windows, &LayerAttention::spans, 1);
  if (table.empty()) return "";
  return table.html() + fine_print(
                            "Means over an arm’s complete runs, of the evaluation that a run reports; layers and heads "
                            "are counted from 0. results.json has each run’s.");
}

}  // namespace crisp::report
