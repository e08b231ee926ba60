// How sparse the arms are: as requested, as measured, and in training alone. Means over an arm's complete runs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "model/methods/method.h"
#include "train/page/charts.h"
#include "train/page/html.h"
#include "train/study/report_sections.h"

namespace crisp::report {
namespace {

// Effective sparsities that differ by more than this are not the same.
constexpr double notable = 0.05;

struct ArmSparsity {
  std::string name;             // HTML
  double requested, effective;  // requested: NaN where a measure decides in a layer
  bool measured() const { return std::isnan(requested); }
  bool off() const { return !measured() && std::abs(effective - requested) > notable; }
};

// Of the arms that have results; means over the layers.
std::vector<ArmSparsity> sparsities(const StudyResults& study) {
  std::vector<ArmSparsity> list;
  for (const StudyArm& arm : study.arms) {
    const double requested = arm.mean([](const StudyRun& run) {
      double sum = 0;
      for (const LayerAttention& layer : run.layers) sum += layer.requested;
      return sum / static_cast<double>(run.layers.size());
    });
    const double effective = arm.mean(&StudyRun::sparsity);
    if (std::isfinite(effective)) list.push_back({escape(arm.name), requested, effective});
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
  std::erase_if(arms, [](const ArmSparsity& arm) { return arm.measured(); });
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

// One sentence on the arms of which no sparsity is requested and whose sparsity is not that of others; "" without.
// Dense ones are no others: what sparsity does is what they are compared for.
std::string measured_apart(const std::vector<ArmSparsity>& arms) {
  std::vector<std::string> words;
  for (const ArmSparsity& arm : arms) {
    const bool apart = std::any_of(arms.begin(), arms.end(), [&](const ArmSparsity& other) {
      return other.requested != 0 && std::abs(arm.effective - other.effective) > notable;
    });
    if (arm.measured() && apart) words.push_back(fmt::format("{} ({})", arm.name, percent(arm.effective, 1)));
  }
  if (words.empty()) return "";
  return "Without a requested sparsity, and in the measured one more than 5 points away from other sparse arms: " +
         listed(words) + ".";
}

// What training removes and evaluation does not; nothing where there is no such thing.
std::vector<std::string> training_only(const SparsityConfig& c) {
  std::vector<std::string> words;
  double requested = 0;  // mean over the layers
  bool sparse = false, active = false;
  for (int64_t l = 0; l < static_cast<int64_t>(c.layers.size()); ++l) {
    active |= c.is_active(l);
    if (!c.applies(l, true) || c.applies(l, false)) continue;
    sparse = true;
    requested += c.sparsity(l) / static_cast<double>(c.layers.size());
  }
  const Method& method = about(c.method);
  const std::string part = percent(requested, 1);
  if (sparse)
    words.push_back(method.removes   ? method.removes(c, part)
                    : c.by_measure() ? fmt::format("by {}, no sparsity requested", method.word)
                                     : fmt::format("{} requested, by {}", part, method.word));
  if (c.key_dropout > 0 && active)
    words.push_back(fmt::format("each kept key removed with probability {:g}{}", c.key_dropout,
                                c.key_dropout_columns ? ", by columns" : ""));
  return words;
}

Table layer_table(const StudyResults& study) {
  std::vector<Column<StudyArm>> columns{
      {"mean", [](const StudyArm& arm) { return percent(arm.mean(&StudyRun::sparsity), 1); }}};
  for (size_t l = 0; l < study.layer_count(); ++l)
    columns.push_back(
        {fmt::format("layer {}", l), [=](const StudyArm& arm) {
           const auto mean = [&](double LayerAttention::*number) {
             return arm.mean([&](const StudyRun& r) { return l < r.layers.size() ? r.layers[l].*number : unknown; });
           };
           const double effective = mean(&LayerAttention::effective);
           if (!std::isfinite(effective)) return fixed(unknown, 0);
           return fmt::format(
               "<span class=\"shade\" style=\"background:color-mix(in srgb, var(--heat) {:.0f}%, "
               "transparent)\">{} ({})</span>",
               40 * effective, fixed(100 * effective, 1), fixed(100 * mean(&LayerAttention::requested), 0));
         }});
  return arm_table(study, "Effective sparsity over valid keys in each layer, in brackets the requested one", columns);
}

}  // namespace

std::string sparsity(const StudyResults& study) {
  ScatterChart chart;
  std::vector<double> xs, ys;
  std::string key;
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const StudyArm& arm = study.arms[i];
    const Summary accuracy = arm.summary(&StudyRun::accuracy);
    const double x = arm.mean(&StudyRun::sparsity);
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
  const std::vector<ArmSparsity> arms = sparsities(study);
  return html + paragraphs({not_as_requested(arms), measured_apart(arms), sparser_in_training(study)}) +
         layer_table(study).html() +
         fine_print(
             "Effective sparsity is the part of (query, key) pairs that the evaluation left out; there is no padding "
             "to count. It differs from the requested one where rows are short, because a row keeps a whole number of "
             "keys and at least one. A dash in brackets: a measure such as a window or a threshold decides instead of "
             "a sparsity.");
}

std::string confounded(const StudyResults& study) {
  const std::vector<ArmSparsity> arms = sparsities(study);
  const auto unequal = unequal_requests(arms);
  std::string html;
  for (const std::string& line :
       {not_as_requested(arms), unequal.empty() ? "" : "Equal requests came out differently: " + listed(unequal) + ".",
        measured_apart(arms)})
    if (!line.empty()) html += " " + line;
  if (html.empty()) return "";
  return "Differences between arms of different effective sparsity are confounded with sparsity." + html;
}

std::string sparser_in_training(const StudyResults& study) {
  std::vector<std::string> alone, more;
  for (const StudyArm& arm : study.arms) {
    if (arm.complete_runs().empty()) continue;
    const SparsityConfig& c = arm.complete_runs()[0]->sparse_attention;
    const std::vector<std::string> words = training_only(c);
    if (!words.empty())
      (c.applies_somewhere(false) ? more : alone).push_back(fmt::format("{} ({})", escape(arm.name), listed(words)));
  }
  std::string html;
  if (!alone.empty())
    html += "Sparse in training only, hence dense in what the evaluation counts: " + listed(alone) + ".";
  if (!more.empty())
    html += fmt::format("{}Sparser in training than in what the evaluation counts: {}.", html.empty() ? "" : " ",
                        listed(more));
  return html;
}

}  // namespace crisp::report
