// results.json, runs.csv and predictions.csv.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "train/durable/metrics.h"
#include "train/study/results.h"
#include "weights/atomic_file.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;

// nlohmann writes NaN as null.
ordered_json json_of(const Interval95& interval) { return ordered_json::array({interval.low, interval.high}); }

ordered_json json_of(const Summary& s) {
  return {{"n", s.n}, {"mean", s.mean}, {"sd", s.sd}, {"interval_95", json_of(s.interval)}};
}

ordered_json json_of(const PairedComparison& c) {
  return {{"n", c.n},
          {"mean", c.mean},
          {"sd", c.sd},
          {"t_interval_95", json_of(c.t_interval)},
          {"p_value", c.p_value},
          {"bootstrap_interval_95", json_of(c.bootstrap)}};
}

ordered_json json_of(const McNemar& m) {
  return {{"only_baseline_right", m.only_first}, {"only_arm_right", m.only_second}, {"p_value", m.p_value}};
}

ordered_json curve(const std::vector<CurvePoint>& points) {
  ordered_json array = ordered_json::array();
  for (const CurvePoint& p : points) array.push_back({{"step", p.step}, {"epoch", p.epoch}, {"value", p.value}});
  return array;
}

ordered_json json_of(const StudyRun& run) {
  ordered_json object{{"seed", run.seed}, {"status", status_name(run.status)}};
  if (!run.message.empty()) object["message"] = run.message;
  object["dev_losses"] = curve(run.dev_losses);
  if (!run.complete()) return object;
  for_each_number(run, [&](const char*, const std::string& name, const char*, const auto& value) {
    object[ordered_json::json_pointer("/" + name)] = value;
  });
  for (const LayerAttention& layer : run.layers) {
    object["layer_sparsity_requested"].push_back(layer.requested);
    object["layer_sparsity"].push_back(layer.effective);
    object["attention_entropy"].push_back(layer.entropy);
    object["attention_normalised_entropy"].push_back(layer.normalised);
  }
  const auto is_learned = [](const LayerAttention& layer) { return !layer.spans.empty(); };
  if (std::none_of(run.layers.begin(), run.layers.end(), is_learned)) return object;
  for (const LayerAttention& layer : run.layers) {
    object["spans"].push_back(layer.spans);
    object["span_windows"].push_back(layer.windows);
  }
  return object;
}

ordered_json json_of(const StudyArm& arm) {
  ordered_json object{{"name", arm.name}, {"description", arm.description}, {"options", arm.options}};
  for (const RunStatus status : {RunStatus::complete, RunStatus::diverged, RunStatus::failed, RunStatus::missing})
    object["count"][status_name(status)] = arm.count(status);
  object["accuracy"] = json_of(arm.summary(&StudyRun::accuracy));
  object["loss"] = json_of(arm.summary(&StudyRun::loss));
  object["train_dev_gap"] = json_of(arm.summary(&StudyRun::gap));
  object["expected_calibration_error"] = json_of(arm.summary(&StudyRun::calibration));
  object["effective_sparsity"] = json_of(arm.summary(&StudyRun::sparsity));
  object["seconds_per_step"] = json_of(arm.summary(&StudyRun::seconds_per_step));
  object["tokens_per_second"] = json_of(arm.summary(&StudyRun::tokens_per_second));
  object["runs"] = ordered_json::array();
  for (const StudyRun& run : arm.runs) object["runs"].push_back(json_of(run));
  return object;
}

ordered_json json_of(const ArmComparison& c, const StudyResults& study) {
  ordered_json object{{"arm", study.arms[c.arm].name},
                      {"baseline", study.base().name},
                      {"seeds", c.seeds},
                      {"accuracy", json_of(c.accuracy)},
                      {"holm_p_value", c.adjusted_p},
                      {"detectable_with_80_percent", c.detectable},
                      {"detectable_with_80_percent_corrected", c.detectable_corrected},
                      {"two_level_bootstrap_95", json_of(c.two_level)},
                      {"loss", json_of(c.loss)},
                      {"matched_losses", ordered_json::array()},
                      {"train_dev_gap", json_of(c.gap)},
                      {"expected_calibration_error", json_of(c.calibration)}};
  for (const MatchedLoss& at : c.matched_losses) {
    object["matched_losses"].push_back({{"epoch", at.epoch}});
    object["matched_losses"].back().update(json_of(at.loss));
  }
  if (!c.by_example) return object;
  object["mcnemar_pooled"] = json_of(c.pooled);
  for (size_t s = 0; s < c.mcnemar.size(); ++s) {
    object["mcnemar"].push_back({{"seed", c.seeds[s]}});
    object["mcnemar"].back().update(json_of(c.mcnemar[s]));
  }
  return object;
}

ordered_json results_json(const StudyResults& study) {
  ordered_json document{{"name", study.name},   {"description", study.description}, {"baseline", study.base().name},
                        {"seeds", study.seeds}, {"common_options", study.common},   {"notes", study.notes}};
  document["arms"] = ordered_json::array();
  for (const StudyArm& arm : study.arms) document["arms"].push_back(json_of(arm));
  document["comparisons"] = ordered_json::array();
  for (const ArmComparison& c : study.comparisons) document["comparisons"].push_back(json_of(c, study));
  return document;
}

// RFC 4180. Numbers read back as the same double.
std::string field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}
std::string field(double value) { return std::isfinite(value) ? fmt::format("{}", value) : ""; }
std::string field(int64_t value) { return fmt::format("{}", value); }

std::string runs_csv(const StudyResults& study) {
  std::string csv = "arm,seed,status,";
  const StudyRun none;
  for_each_number(none, [&](const char*, const char*, const std::string& column, const auto&) {
    if (!column.empty()) csv += column + ',';
  });
  csv += "message\n";
  for (const StudyArm& arm : study.arms) {
    for (const StudyRun& run : arm.runs) {
      csv += fmt::format("{},{},{},", field(arm.name), run.seed, status_name(run.status));
      for_each_number(run, [&](const char*, const char*, const std::string& column, const auto& value) {
        constexpr bool counts = std::is_same_v<decltype(value), const int64_t&>;  // 0 where they are not known
        if (!column.empty()) csv += (counts && !run.complete() ? "" : field(value)) + ',';
      });
      csv += field(run.message) + '\n';
    }
  }
  return csv;
}

// In pieces, since a large study has hundreds of thousands of lines.
void write_predictions(const std::string& path, const StudyResults& study) {
  size_t classes = 0;
  for (const StudyArm& arm : study.arms)
    for (const StudyRun& run : arm.runs)
      for (const auto& logits : run.logits) classes = std::max(classes, logits.size());
  AtomicFile file(path);
  std::string header = "arm,seed,example,label,prediction,correct";
  for (size_t c = 0; c < classes; ++c) header += fmt::format(",logit_{}", c);
  file.write(header + '\n');
  for (const StudyArm& arm : study.arms) {
    for (const StudyRun& run : arm.runs) {
      std::string lines;
      for (size_t i = 0; i < run.right.size(); ++i) {
        lines += fmt::format("{},{},{},{},{},{}", field(arm.name), run.seed, i, run.labels[i], run.predictions[i],
                             int{run.right[i]});
        for (size_t c = 0; c < classes; ++c)
          lines += ',' + (c < run.logits[i].size() ? field(run.logits[i][c]) : std::string());
        lines += '\n';
      }
      file.write(lines);
    }
  }
  file.commit();
}

}  // namespace

void write_study_files(const std::string& output_dir, const StudyResults& study) {
  write_json_file(output_dir + "/results.json", results_json(study));
  write_file_atomically(output_dir + "/runs.csv", runs_csv(study));
  write_predictions(output_dir + "/predictions.csv", study);
}

}  // namespace crisp
