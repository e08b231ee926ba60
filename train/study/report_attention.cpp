// What the attention kept: sparsity per layer, entropy per layer and head. Means over an arm's complete runs.
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

// Layers of the run that has most; an arm's runs agree unless someone has mixed models.
size_t layer_count(const StudyArm& arm) {
  size_t n = 0;
  for (const StudyRun* run : arm.complete_runs()) n = std::max(n, run->layers.size());
  return n;
}

template <class Number>
double layer_mean(const StudyArm& arm, size_t layer, Number number) {
  MeanOf mean;
  for (const StudyRun* run : arm.complete_runs())
    if (layer < run->layers.size()) mean.add(number(run->layers[layer]));
  return mean.value();
}

// [layer][head]
std::vector<std::vector<double>> head_means(const StudyArm& arm, std::vector<double> LayerAttention::*member) {
  std::vector<std::vector<double>> means(layer_count(arm));
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

// Effective sparsities that differ by more than this are not the same.
constexpr double notable = 0.05;

struct ArmSparsity {
  std::string name;  // HTML
  double requested, effective;
  bool off() const { return std::abs(effective - requested) > notable; }
};

// Of the arms that have results and a requested sparsity; means over the layers.
std::vector<ArmSparsity> sparsities(const StudyResults& study) {
  std::vector<ArmSparsity> list;
  for (const StudyArm& arm : study.arms) {
    const double requested = arm.summary([](const StudyRun& run) {
                                  double sum = 0;  // NaN where a measure decides in a layer
                                  for (const LayerAttention& layer : run.layers) sum += layer.requested;
                                  return sum / static_cast<double>(run.layers.size());
                                })
                                 .mean;
    const double effective = arm.summary([](const StudyRun& run) { return run.sparsity; }).mean;
    if (std::isfinite(requested) && std::isfinite(effective)) list.push_back({escape(arm.name), requested, effective});
  }
  return list;
}

// One sentence on the arms that are not as sparse as requested; "" without.
std::string not_as_requested(const std::vector<ArmSparsity>& arms) {
  std::vector<std::string> words;
  for (const ArmSparsity& arm : arms)
    if (arm.off())
      words.push_back(
          fmt::format("{} ({} instead of {})", arm.name, percent(arm.effective, 1), percent(arm.requested, 1)));
  if (words.empty()) return "";
  return "More than 5 points away from the requested sparsity, on average over layers: " + listed(words) + ".";
}

// Pairs of arms that request the same and do not get it, each once, by the extremes of a request.
std::vector<std::string> unequal_requests(std::vector<ArmSparsity> arms) {
  std::sort(arms.begin(), arms.end(), [](const auto& a, const auto& b) {
    return std::pair(std::lround(1000 * a.requested), a.effective) <
           std::pair(std::lround(1000 * b.requested), b.effective);
  });
  std::vector<std::string> words;
  for (size_t first = 0, last = 0; first < arms.size(); first = last + 1) {
    last = first;
    while (last + 1 < arms.size() &&
           std::lround(1000 * arms[last + 1].requested) == std::lround(1000 * arms[first].requested))
      ++last;
    if (arms[last].effective - arms[first].effective > notable)
      words.push_back(fmt::format("{} requested: from {} ({}) to {} ({})", percent(arms[first].requested, 1),
                                  percent(arms[first].effective, 1), arms[first].name, percent(arms[last].effective, 1),
                                  arms[last].name));
  }
  return words;
}

Table layer_table(const StudyResults& study) {
  size_t layers = 0;
  for (const StudyArm& arm : study.arms) layers = std::max(layers, layer_count(arm));
  Table table("Effective sparsity over valid keys in each layer, in brackets the requested one");
  std::vector<std::string> header{"arm", "mean"};
  for (size_t l = 0; l < layers; ++l) header.push_back(fmt::format("layer {}", l));
  table.header(header);
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const StudyArm& arm = study.arms[i];
    std::vector<std::string> cells{escape(arm.name),
                                   percent(arm.summary([](const StudyRun& r) { return r.sparsity; }).mean, 1)};
    for (size_t l = 0; l < layers; ++l) {
      const double effective = layer_mean(arm, l, [](const LayerAttention& a) { return a.effective; });
      const double requested = layer_mean(arm, l, [](const LayerAttention& a) { return a.requested; });
      cells.push_back(
          std::isfinite(effective)
              ? fmt::format("<span class=\"shade\" style=\"background:color-mix(in srgb, var(--heat) {:.0f}%, "
                            "transparent)\">{} ({})</span>",
                            40 * effective, fixed(100 * effective, 1), fixed(100 * requested, 0))
              : fixed(unknown, 0));
    }
    table.row(cells, i == study.baseline);
  }
  return table;
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
  for (const StudyArm& arm : study.arms) layers = std::max(layers, layer_count(arm));
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

Table every_head(const StudyResults& study) {
  Table table("Entropy of each head: nats, and normalised in brackets");
  size_t heads = 0;
  for (const StudyArm& arm : study.arms)
    for (const auto& layer : head_means(arm, &LayerAttention::entropy)) heads = std::max(heads, layer.size());
  std::vector<std::string> header{"arm, layer"};
  for (size_t h = 0; h < heads; ++h) header.push_back(fmt::format("head {}", h));
  table.header(header);
  for (const StudyArm& arm : study.arms) {
    const auto raw = head_means(arm, &LayerAttention::entropy);
    const auto normalised = head_means(arm, &LayerAttention::normalised);
    for (size_t l = 0; l < raw.size(); ++l) {
      std::vector<std::string> cells{fmt::format("{}, {}", escape(arm.name), l)};
      for (size_t h = 0; h < heads; ++h) {
        const double a = h < raw[l].size() ? raw[l][h] : unknown;
        const double b = l < normalised.size() && h < normalised[l].size() ? normalised[l][h] : unknown;
        cells.push_back(fmt::format("{} ({})", fixed(a, 2), fixed(b, 2)));
      }
      table.row(cells);
    }
  }
  return table;
}

}  // namespace

std::string sparsity(const StudyResults& study) {
  ScatterChart chart;
  std::vector<double> xs, ys;
  std::string key;
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const StudyArm& arm = study.arms[i];
    const Summary accuracy = arm.summary([](const StudyRun& r) { return r.accuracy(); });
    const double x = arm.summary([](const StudyRun& r) { return r.sparsity; }).mean;
    key += fmt::format("<li>{}: {} at {}</li>", escape(arm.name), percent(accuracy.mean), percent(x, 1));
    if (!std::isfinite(x) || accuracy.n == 0) continue;
    chart.points.push_back(
        {x, accuracy.mean, static_cast<int>(i) + 1, i == study.baseline,
         fmt::format("{}: accuracy {}, effective sparsity {}", arm.name, percent(accuracy.mean), percent(x, 1))});
    for (const StudyRun* run : arm.complete_runs()) {
      chart.points.back().runs.emplace_back(run->sparsity, run->accuracy());
      ys.push_back(run->accuracy());
    }
    xs.push_back(x);
  }
  if (chart.points.empty()) return "";
  xs.push_back(0);
  if (*std::max_element(xs.begin(), xs.end()) == 0) xs.push_back(1);
  chart.x = make_axis(xs, "effective sparsity over valid keys, mean of layers", percent_unit);
  chart.y = make_axis(ys, "accuracy", percent_unit);
  chart.description = "Mean accuracy of each arm against its effective sparsity. The list below has the numbers.";
  std::string html;
  if (chart.points.size() > 1)  // one is no relation
    html = "<figure>" + chart.html() +
           "<figcaption>Numbered: the mean of an arm; faint: its runs.</figcaption><ol class=\"numbers\">" + key +
           "</ol></figure>\n";
  if (const std::string line = not_as_requested(sparsities(study)); !line.empty()) html += paragraph(line);
  html += layer_table(study).html();
  return html +
         paragraph(
             "<span class=\"small\">Effective sparsity is the part of (query, key) pairs that the evaluation left out; "
             "there is no padding to count. It differs from the requested one where rows are short, because "
             "a row keeps a whole number of keys and at least one. A dash in brackets: a measure such as a "
             "window or a threshold decides instead of a sparsity.</span>");
}

std::string confounded(const StudyResults& study) {
  const std::vector<ArmSparsity> arms = sparsities(study);
  std::string html = not_as_requested(arms);
  if (const auto unequal = unequal_requests(arms); !unequal.empty())
    html += fmt::format("{}Equal requests came out differently: {}.", html.empty() ? "" : " ", listed(unequal));
  if (html.empty()) return "";
  return "Differences between arms of different effective sparsity are confounded with sparsity. " + html;
}

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
  return html + details("The table of all heads", every_head(study).html());
}

}  // namespace crisp::report
