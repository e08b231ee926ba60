#include "train/study/results.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "data/input/file.h"
#include "data/input/json.h"
#include "engine/fail.h"
#include "model/sparsity_json.h"
#include "train/durable/metrics.h"
#include "train/study/json_lines.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;
using Fields = JsonFields<ordered_json>;

constexpr double infinity = std::numeric_limits<double>::infinity();

/// NaN for none: JSON has no other word for it.
double number(const Fields& fields, const char* key) { return fields.real(key, {.low = -infinity}).value_or(unknown); }

int64_t count(const Fields& fields, const char* key) { return fields.whole(key, 0, INT64_MAX).value_or(0); }

std::vector<double> numbers(const Fields& fields, const char* key, const ordered_json& list) {
  if (!list.is_array()) fields.refuse(key, list, "a list");
  std::vector<double> values;
  for (const ordered_json& value : list) {
    if (!value.is_number() && !value.is_null()) fields.refuse(key, list, "a list of numbers");
    values.push_back(value.is_null() ? unknown : value.get<double>());
  }
  return values;
}

std::vector<double> numbers(const Fields& fields, const char* key) {
  const ordered_json* list = fields.list(key);
  return list ? numbers(fields, key, *list) : std::vector<double>();
}

void read(const Fields& fields, const char* key, double& value) { value = number(fields, key); }
void read(const Fields& fields, const char* key, std::string& text) { text = fields.text(key).value_or(""); }
// What it is without the field is the least that it may be.
void read(const Fields& fields, const char* key, int64_t& n) { n = fields.whole(key, n, INT64_MAX).value_or(n); }

void read_layers(const Fields& fields, StudyRun& run) {
  const std::vector<double> effective = numbers(fields, "eval_layer_sparsity");
  const std::vector<double> requested = numbers(fields, "eval_layer_sparsity_requested");
  const auto of_layer = [&](const char* key, size_t layer) {
    const ordered_json* list = fields.list(key);
    return list && layer < list->size() ? numbers(fields, key, list->at(layer)) : std::vector<double>();
  };
  for (size_t i = 0; i < effective.size(); ++i) {
    LayerAttention layer;
    layer.effective = effective[i];
    if (i < requested.size()) layer.requested = requested[i];
    layer.entropy = of_layer("eval_attention_entropy", i);
    layer.normalised = of_layer("eval_attention_normalised_entropy", i);
    layer.spans = of_layer("spans", i);
    layer.windows = of_layer("span_windows", i);
    run.layers.push_back(layer);
  }
}

void read_results(const Fields& fields, StudyRun& run) {
  const ordered_json *flops = fields.object("eval_flops"), none = ordered_json::object();
  const Fields of_flops(flops ? *flops : none, fields.where());
  for_each_number(run, [&](const std::string& name, const char*, const char*, auto&& value) {
    const size_t slash = name.find('/');
    if (slash != std::string::npos)
      read(of_flops, name.c_str() + slash + 1, value);
    else if (!name.empty())
      read(fields, name.c_str(), value);
  });
  read_layers(fields, run);
  const ordered_json* object = fields.object("settings");
  if (!object) return;
  run.settings = object->dump();
  const Fields settings(*object, fields.where());
  run.select_best = settings.text("select").value_or("") == "best";
  run.selection_part = settings.real("selection_part", {.low = 0, .high = 1}).value_or(0);
  run.patience = count(settings, "early_stopping_patience");
}

// For a model of the shape that the evaluation shows. Throws BadInput.
SparsityConfig sparse_attention_of(const StudyRun& run) {
  if (run.settings.empty()) return {};
  const size_t heads = run.layers.empty() ? 0 : run.layers[0].entropy.size();
  return parse_sparsity_json(nlohmann::json::parse(run.settings), static_cast<int64_t>(run.layers.size()),
                             static_cast<int64_t>(heads), "settings of all_results.json");
}

// Returns where the file ends, and how many lines before its last are damaged.
std::pair<int64_t, int64_t> read_metrics(const std::string& path, StudyRun& run) {
  int64_t last_step = 0;
  const DamagedLines damaged = for_each_json_line(path, [&](const Fields& line) {
    CurvePoint point{count(line, "step"), number(line, "epoch"), unknown};
    last_step = std::max(last_step, point.step);
    for (const auto& [key, points] : {std::pair{"loss", &run.training_losses}, {"eval_loss", &run.dev_losses}}) {
      if (!line.contains(key)) continue;
      point.value = number(line, key);
      points->push_back(point);
      break;
    }
  });
  return {last_step, damaged.before_last};
}

// Returns the sentences.
std::vector<std::string> read_predictions(const std::string& path, StudyRun& run) {
  std::vector<std::string> sentences;
  const DamagedLines damaged = for_each_json_line(path, [&](const Fields& line) {
    const std::vector<double> probabilities = numbers(line, "probabilities"), logits = numbers(line, "logits");
    const auto label = static_cast<int32_t>(line.whole("label", -1, INT32_MAX).value_or(-1));
    const auto prediction = static_cast<int32_t>(line.whole("prediction", 0, INT32_MAX).value_or(-2));
    sentences.push_back(line.text("text").value_or(""));
    run.labels.push_back(label);
    run.predictions.push_back(prediction);
    run.right.push_back(label == prediction);
    run.logits.push_back(logits);
    const auto predicted = static_cast<size_t>(prediction);
    run.confidences.push_back(predicted < probabilities.size() ? std::clamp(probabilities[predicted], 0.0, 1.0)
                                                               : unknown);
  });
  if (damaged.all > 0) {  // a part of the examples is no basis for anything
    run.forget_examples();
    return {};
  }
  return sentences;
}

RunStatus status_of(const RunFiles& files, const ordered_json& results, std::string& message) {
  const RunState state = read_state(files);
  message = state.message;
  if (state.final() || state.status == RunStatus::failed) return state.status;
  // Whatever the process that wrote them could still say.
  const std::string complaint = read_accuracy(results).complaint;
  if (complaint.empty()) return RunStatus::complete;
  if (results.contains("settings")) {  // what is written last
    message = complaint;
    return RunStatus::failed;
  }
  if (message.empty()) message = fs::exists(files.directory) ? "begun, not ended" : "not begun";
  return RunStatus::missing;
}

StudyRun read_run(const RunFiles& files, uint64_t seed, const std::string& what, StudyResults& study) {
  const std::string& directory = files.directory;
  StudyRun run;
  run.seed = seed;
  const std::string results_name = "all_results.json";
  const ordered_json results = read_json_object(files.results);
  run.status = status_of(files, results, run.message);
  const auto [last_step, damaged] = read_metrics(directory + "/metrics.jsonl", run);
  const auto note = [&](const std::string& sentence) { study.notes.push_back(what + ": " + sentence); };
  if (!run.complete()) {
    if (const std::string complaint = read_accuracy(results).complaint;
        results.contains("settings") && !complaint.empty() && run.message == complaint)
      note(complaint + ", so the run counts as failed.");
    return run;
  }
  run.message.clear();
  try {
    StudyRun whole = run;  // so that a run whose results cannot be read has none of them
    read_results(Fields(results, results_name), whole);
    run = std::move(whole);
  } catch (const BadInput& e) {
    run.status = RunStatus::failed;
    run.message = e.what();
    note(run.message + ", so the run counts as failed.");
    return run;
  }
  run.whole_curves = damaged == 0 && last_step >= run.steps;
  if (!run.whole_curves)
    note(fmt::format("metrics.jsonl {}, so the arm's loss curves are those of its other runs, if it has any.",
                     damaged > 0     ? fmt::format("has {} damaged {}", damaged, damaged > 1 ? "lines" : "line")
                     : last_step > 0 ? fmt::format("ends at step {} of {}", last_step, run.steps)
                                     : "is absent or has no step"));
  try {
    run.sparse_attention = sparse_attention_of(run);
  } catch (const BadInput& e) {
    note(fmt::format("{}; where the report speaks of methods, it takes the run for dense.", e.what()));
  }
  std::vector<std::string> sentences = read_predictions(directory + "/dev_predictions.jsonl", run);
  if (sentences.empty()) {
    note("dev_predictions.jsonl is absent or damaged, so the run takes no part in comparisons by example.");
    return run;
  }
  const int64_t right = std::count(run.right.begin(), run.right.end(), 1);
  if (right != run.correct || static_cast<int64_t>(sentences.size()) != run.total)
    note(fmt::format("all_results.json has {} of {} right, dev_predictions.jsonl {} of {}; the former is shown.",
                     run.correct, run.total, right, sentences.size()));
  if (std::none_of(run.confidences.begin(), run.confidences.end(), [](double c) { return std::isnan(c); }))
    run.calibration = expected_calibration_error(run.confidences, run.right);
  if (study.examples.empty()) {
    study.examples = std::move(sentences);
    study.labels = run.labels;
  } else if (run.labels != study.labels || sentences != study.examples) {
    note("its dev set differs from the first run's, so it takes no part in comparisons by example.");
    run.forget_examples();
  }
  return run;
}

StudyResults without_runs(const Study& study) {
  StudyResults results;
  results.name = study.name;
  results.description = study.description;
  results.common = study.options;
  results.seeds = study.seeds;
  for (const Study::Arm& arm : study.arms) {
    if (arm.name == study.baseline) results.baseline = results.arms.size();
    results.arms.push_back({arm, {}});
  }
  return results;
}

}  // namespace

double StudyRun::accuracy() const {
  return complete() && total > 0 ? static_cast<double>(correct) / static_cast<double>(total) : unknown;
}

std::vector<const StudyRun*> StudyArm::complete_runs() const {
  std::vector<const StudyRun*> list;
  for (const StudyRun& run : runs)
    if (run.complete()) list.push_back(&run);
  return list;
}

size_t StudyArm::layer_count() const {
  size_t n = 0;
  for (const StudyRun* run : complete_runs()) n = std::max(n, run->layers.size());
  return n;
}

int64_t StudyArm::count(RunStatus status) const {
  return std::count_if(runs.begin(), runs.end(), [&](const StudyRun& run) { return run.status == status; });
}

OptionMap StudyResults::options_of(const StudyArm& arm) const { return joined_options(common, arm.options); }

int64_t StudyResults::count(RunStatus status) const {
  int64_t n = 0;
  for (const StudyArm& arm : arms) n += arm.count(status);
  return n;
}

size_t StudyResults::layer_count() const {
  size_t n = 0;
  for (const StudyArm& arm : arms) n = std::max(n, arm.layer_count());
  return n;
}

StudyResults read_study(const std::string& output_dir) {
  const std::string path = output_dir + "/study.json";
  StudyResults study = without_runs(parse_study(read_input(path, input_limit::study), path));
  if (study.seeds.empty()) fail<BadInput>("{}: no seeds", path);
  for (StudyArm& arm : study.arms) {
    for (const uint64_t seed : study.seeds) {
      const std::string what = fmt::format("{}, seed {}", arm.name, seed);
      arm.runs.push_back(read_run(run_files(output_dir, arm.name, seed), seed, what, study));
    }
  }
  std::vector<std::string> notes = data_notes(study);  // what matters most comes first
  for (const auto& more : {kernel_notes(study), study.notes}) notes.insert(notes.end(), more.begin(), more.end());
  study.notes = std::move(notes);
  compare_arms(study);
  return study;
}

}  // namespace crisp
