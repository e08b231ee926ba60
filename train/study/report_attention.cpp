// What the heads do: entropy per layer and head, learned degrees. Means over an arm's complete runs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "train/study/report_charts.h"
#include "train/study/report_html.h"
#include "train/study/report_sections.h"

namespace crisp::report {
namespace {

// An element-wise mean that passes over NaN.
class MeanOf {
 public:
  void add(double value) {
    if (!std::isfinite(value)) return;
    sum_ += value;
    ++n_;
  }
  double value() const { return n_ > 0 ? sum_ / n_ : unknown; }

 private:
  double sum_ = 0;
  int n_ = 0;
};

// [layer][head]
std::vector<std::vector<double>> head_means(const StudyArm& arm, std::vector<double> LayerAttention::*member) {
  std::vector<std::vector<double>> means(arm.layer_count());
  for (size_t l = 0; l < means.size(); ++l) {
    std::vector<MeanOf> heads;
    for (const StudyRun* run : arm.complete_runs()) {
      if (l >= run->layers.size()) continue;
      const std::vector<double>& values = run->layers[l].*member;
      heads.resize(std::max(heads.size(), values.size()));
      for (size_t h = 0; h < values.size(); ++h) heads[h].add(values[h]);
    }
    for (const MeanOf& head : heads) means[l].push_back(head.value());
  }
  return means;
}

std::string heat_maps(const StudyResults& study, std::vector<double> LayerAttention::*member, double scale,
                      const char* what, const char* unit) {
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

// Two rows for each arm and layer would be hard to read, so raw and normalised share a cell.
Table head_table(const StudyResults& study) {
  Table table("Mean entropy over heads in each layer: nats, and normalised in brackets");
  size_t layers = 0;
  for (const StudyArm& arm : study.arms) layers = std::max(layers, arm.layer_count());
  std::vector<std::string> header{"arm"};
  for (size_t l = 0; l < layers; ++l) header.push_back(fmt::format("layer {}", l));
  table.header(header);
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const auto raw = head_means(study.arms[i], &LayerAttention::entropy);
    const auto normalised = head_means(study.arms[i], &LayerAttention::normalised);
    std::vector<std::string> cells{escape(study.arms[i].name)};
    for (size_t l = 0; l < layers; ++l) {
      MeanOf a, b;
      if (l < raw.size())
        for (const double v : raw[l]) a.add(v);
      if (l < normalised.size())
        for (const double v : normalised[l]) b.add(v);
      cells.push_back(fmt::format("{} ({})", fixed(a.value(), 2), fixed(b.value(), 2)));
    }
    table.row(cells, i == study.baseline);
  }
  return table;
}

// Two numbers of each head, the second in brackets; no row for a layer that has none.
Table every_head(const StudyResults& study, const std::string& caption, std::vector<double> LayerAttention::*first,
                 std::vector<double> LayerAttention::*second, int decimals) {
  Table table(caption);
  size_t heads = 0;
  for (const StudyArm& arm : study.arms)
    for (const auto& layer : head_means(arm, first)) heads = std::max(heads, layer.size());
  std::vector<std::string> header{"arm, layer"};
  for (size_t h = 0; h < heads; ++h) header.push_back(fmt::format("head {}", h));
  table.header(header);
  for (const StudyArm& arm : study.arms) {
    const auto as = head_means(arm, first), bs = head_means(arm, second);
    for (size_t l = 0; l < as.size(); ++l) {
      if (as[l].empty()) continue;
      std::vector<std::string> cells{fmt::format("{}, {}", escape(arm.name), l)};
      for (size_t h = 0; h < heads; ++h) {
        const double a = h < as[l].size() ? as[l][h] : unknown, b = h < bs[l].size() ? bs[l][h] : unknown;
        cells.push_back(fmt::format("{} ({})", fixed(a, decimals), fixed(b, decimals)));
      }
      table.row(cells);
    }
  }
  return table;
}

}  // namespace

std::string entropy(const StudyResults& study) {
  double largest = 0;
  bool any = false, any_normalised = false;
  for (const StudyArm& arm : study.arms) {
    for (const auto& layer : head_means(arm, &LayerAttention::entropy))
      for (const double v : layer)
        if (std::isfinite(v)) largest = std::max(largest, v), any = true;
    for (const auto& layer : head_means(arm, &LayerAttention::normalised))
      for (const double v : layer) any_normalised |= std::isfinite(v);
  }
  if (!any) return "";
  std::string html = paragraph(
      "Entropy of the attention weights on the dev set, mean over queries and runs; layers downwards and heads across, "
      "both counted from 0. A mask lowers the raw entropy by itself, since fewer keys are left to spread over; only "
      "the "
      "normalised one, divided by the log of the number of allowed keys, compares arms of different sparsity.");
  html += "<h3>Raw, in nats</h3>\n" + heat_key(largest, "nats", 2) +
          heat_maps(study, &LayerAttention::entropy, largest, "Attention entropy", " nats");
  if (any_normalised)
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
  return table.html() + paragraph(
                            "<span class=\"small\">Means over an arm’s complete runs, of the evaluation that a run "
                            "reports; layers and "
                            "heads are counted from 0. results.json has each run’s.</span>");
}

}  // namespace crisp::report
