// Whether a study's runs were trained and evaluated on the same data, and with the same kernels.
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "train/study/results.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;

// A setting of a run that is a hash of what it reads.
struct Data {
  const char *setting, *words;
  bool training, parsed;  // the set that --selection-part carves; one whose hash counts the parses that a run reads
};
constexpr Data data_settings[] = {{"training_data_sha256", "training sets", true, true},
                                  {"dev_data_sha256", "dev sets", false, true},
                                  {"initial_weights_sha256", "initial weights", false, false}};

bool chooses_data(const StudyArm& arm) {
  return std::any_of(std::begin(data_options), std::end(data_options),
                     [&](const char* name) { return arm.options.contains(name); });
}

struct Run {
  const StudyRun* run;
  ordered_json settings;
};

std::vector<Run> runs_of(const StudyArm& arm) {
  std::vector<Run> runs;
  for (const StudyRun* run : arm.complete_runs()) {
    ordered_json settings = ordered_json::parse(run->settings, nullptr, false);
    if (settings.is_object()) runs.push_back({run, std::move(settings)});
  }
  return runs;
}

// Whether a run has this setting, other than "".
bool has(const Run& run, const char* setting) {
  const auto found = run.settings.find(setting);
  return found != run.settings.end() && !found->is_null() && *found != "";
}

// Whether both have the hash and were meant to have the same.
bool differ(const Run& a, const Run& b, const Data& data) {
  if (!a.settings.contains(data.setting) || !b.settings.contains(data.setting)) return false;
  if (data.training && a.run->selection_part != b.run->selection_part) return false;
  if (data.training && a.run->selection_part > 0 && a.run->seed != b.run->seed) return false;
  if (data.parsed)
    for (const char* parses : {"parses", "dev_parses"})
      if (has(a, parses) != has(b, parses)) return false;
  return a.settings[data.setting] != b.settings[data.setting];
}

bool any_differ(const std::vector<Run>& some, const std::vector<Run>& others, const Data& data) {
  for (const Run& a : some)
    for (const Run& b : others)
      if (differ(a, b, data)) return true;
  return false;
}

}  // namespace

std::vector<std::string> data_notes(const StudyResults& study) {
  std::vector<std::string> notes;
  std::vector<std::vector<Run>> runs;
  for (const StudyArm& arm : study.arms) runs.push_back(runs_of(arm));
  // What the other arms are held against: the baseline, where it says nothing about data itself.
  size_t reference = study.baseline;
  for (size_t i = 0; i < runs.size() && (chooses_data(study.arms[reference]) || runs[reference].empty()); ++i)
    reference = i;
  for (const Data& data : data_settings) {
    for (size_t i = 0; i < runs.size(); ++i) {
      const StudyArm& arm = study.arms[i];
      if (any_differ(runs[i], runs[i], data)) {
        notes.push_back(fmt::format(
            "{}: its runs had different {} (settings.{} of all_results.json), so they are not runs of one arm.",
            arm.name, data.words, data.setting));
      } else if (i != reference && !chooses_data(arm) && !chooses_data(study.arms[reference]) &&
                 any_differ(runs[i], runs[reference], data)) {
        notes.push_back(fmt::format(
            "{} and {} had different {} (settings.{} of all_results.json), though their options do not ask for that: "
            "what differs between them may be due to the data.",
            arm.name, study.arms[reference].name, data.words, data.setting));
      }
    }
  }
  return notes;
}

std::vector<std::string> kernel_notes(const StudyResults& study) {
  std::vector<std::string> arms;
  std::set<std::string> kernels;
  for (const StudyArm& arm : study.arms) {
    std::vector<uint64_t> seeds;
    for (size_t s = 0; s < arm.runs.size(); ++s) {
      const StudyRun &run = arm.runs[s], &base = study.base().runs[s];
      if (run.instruction_set.empty() || base.instruction_set.empty() || run.instruction_set == base.instruction_set)
        continue;
      seeds.push_back(run.seed);
      kernels.insert({run.instruction_set, base.instruction_set});
    }
    if (seeds.empty()) continue;
    arms.push_back(fmt::format("{} ({} {})", arm.name, seeds.size() > 1 ? "seeds" : "seed", fmt::join(seeds, ", ")));
  }
  if (arms.empty()) return {};
  return {fmt::format(
      "Runs of one seed that are compared were made with different kernels ({}; instruction_set of all_results.json), "
      "which round differently: {}, each beside {}. Part of these differences is the kernels'.",
      fmt::join(kernels, ", "), fmt::join(arms, ", "), study.base().name)};
}

}  // namespace crisp
