#include "train/study/estimate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "engine/error.h"
#include "train/interrupt.h"
#include "train/metrics.h"
#include "train/study/child.h"

namespace crisp {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int measured_steps = 20;  // the speed is taken from the second half

// Where a run would write: the study's directory, or the nearest that is there.
fs::path near(const std::string& output) {
  fs::path path = fs::absolute(output);
  std::error_code ignored;
  while (path.has_relative_path() && !fs::is_directory(path, ignored)) path = path.parent_path();
  return path;
}

class Scratch {
 public:
  explicit Scratch(const std::string& output) {
    std::string pattern = (near(output) / ".crisp-study-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) fail("{}: cannot be written", near(output).string());
    path_ = pattern;
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Of the last training line of metrics.jsonl.
double last_rate(const std::string& path) {
  std::ifstream file(path);
  double rate = 0;
  for (std::string line; std::getline(file, line);) {
    const json object = json::parse(line, nullptr, false);
    if (object.is_object()) rate = object.value("tokens_per_second", rate);
  }
  return rate;
}

int64_t number(const OptionMap& options, const char* name) {
  const auto given = options.find(name);
  return given == options.end() ? 0 : std::strtoll(given->second.c_str(), nullptr, 10);
}

}  // namespace

double Estimate::seconds(const std::string& arm) const {
  const auto found = of_arm.find(arm);
  return found == of_arm.end() ? mean : found->second;
}

double whole_run_seconds(const json& results, double elapsed, double tokens_per_second, const RunLength& length) {
  const json& settings = results.at("settings");
  const auto examples = settings.at("training_examples").get<double>(), steps = results.at("step").get<double>(),
             trained = results.at("train_runtime").get<double>();
  const double step =
      settings.at("batch_size").get<double>() * settings.at("gradient_accumulation_steps").get<double>();
  const double steps_of_epoch = std::ceil(examples / step);
  const double all_steps = length.max_steps > 0 ? static_cast<double>(length.max_steps)
                                                : std::ceil(settings.at("epochs").get<double>() * steps_of_epoch);
  const double training = all_steps / steps_of_epoch * settings.at("training_tokens").get<double>() / tokens_per_second;
  // The start lasts until the first step has been done; what follows the training is the evaluation.
  const double others = std::max(0.0, elapsed - trained);
  const double start =
      std::clamp(results.value("startup_seconds", elapsed) - trained / std::max(1.0, steps), 0.0, others);
  const double evaluation = others - start;
  const double between = length.eval_steps > 0 ? static_cast<double>(length.eval_steps) : steps_of_epoch;
  const double evaluations = std::max(1.0, std::ceil(all_steps / between));
  const double sentences = results.at("eval_total").get<double>() + results.value("selection_total", 0.0);
  const double at_end = std::min(examples, static_cast<double>(length.eval_train)) / sentences;
  return start + training + (evaluations + at_end) * evaluation;
}

Estimate estimate_from_finished(const Study& study, const std::string& output) {
  Estimate estimate;
  double sum = 0;
  int64_t runs = 0;
  for (const Study::Arm& arm : study.arms) {
    double of_arm = 0;
    int64_t count = 0;
    for (const uint64_t seed : study.seeds) {
      const RunState state = read_state(run_files(output, arm.name, seed));
      if (state.status != RunState::Status::complete || !(state.seconds > 0)) continue;
      of_arm += state.seconds;
      ++count;
    }
    if (count > 0) estimate.of_arm[arm.name] = of_arm / static_cast<double>(count);
    sum += of_arm;
    runs += count;
  }
  if (runs > 0) estimate.mean = sum / static_cast<double>(runs);
  estimate.basis = fmt::format("from {} finished run{}", runs, runs == 1 ? "" : "s");
  return estimate;
}

Estimate estimate_by_measuring(const Study& study, const RunnerOptions& options) {
  const auto arm =
      std::find_if(study.arms.begin(), study.arms.end(), [&](const Study::Arm& a) { return a.name == study.baseline; });
  if (arm == study.arms.end()) fail("the baseline is no arm");
  const OptionMap all = study.options_of(*arm);
  const RunLength length{number(all, "max-steps"), number(all, "eval-steps"), number(all, "eval-train")};
  const int64_t steps = length.max_steps > 0 ? std::min<int64_t>(length.max_steps, measured_steps) : measured_steps;
  const Scratch scratch(options.output);
  std::vector<std::string> command = train_command(study, *arm, options);
  for (const std::string& word :
       {fmt::format("--max-steps={}", steps), fmt::format("--logging-steps={}", (steps + 1) / 2),
        fmt::format("--eval-steps={}", steps), std::string("--save-steps=0"), std::string("--eval-train=0"),
        fmt::format("--seed={}", study.seeds.front()), "--output=" + scratch.path() + "/run"})
    command.push_back(word);
  RunFiles files;
  files.log = scratch.path() + "/log";
  const InterruptHandler signals;
  const auto begin = Clock::now();
  Child child(command, files.log, -1);
  std::optional<int> exit_code;
  while (!(exit_code = child.ended())) {
    if (interrupted() != 0) child.signal(SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (interrupted() != 0) fail("interrupted");
  if (*exit_code != 0) fail("the measurement failed: crisp-train: {}", last_error(files));
  Estimate estimate;
  const double elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  const double rate = last_rate(scratch.path() + "/run/metrics.jsonl");
  if (!(rate > 0)) fail("the measurement of the training's speed failed");
  const json results = read_json_object(scratch.path() + "/run/all_results.json");
  estimate.mean = whole_run_seconds(results, elapsed, rate, length);
  estimate.basis = fmt::format("from {} steps of the arm {}, measured now", steps, arm->name);
  return estimate;
}

}  // namespace crisp
