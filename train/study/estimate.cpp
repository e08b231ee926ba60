#include "train/study/estimate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <vector>

#include "data/input/file.h"
#include "data/input/json.h"
#include "engine/fail.h"
#include "train/durable/interrupt.h"
#include "train/durable/metrics.h"
#include "train/run/run.h"
#include "train/run/train_settings.h"
#include "train/study/child.h"
#include "train/study/json_lines.h"
#include "train/study/statistics.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int measured_steps = 20;  // the speed is taken from the second half

// The nearest existing directory above the study's, which stays as it is: there should be as much room as in it.
fs::path beside(const std::string& output) {
  fs::path path = fs::absolute(output).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "dir/"
  std::error_code ignored;
  do path = path.parent_path();
  while (path.has_relative_path() && !fs::is_directory(path, ignored));
  return path;
}

class Scratch {
 public:
  explicit Scratch(const std::string& output) {
    if (!make_in(beside(output)) && !make_in(fs::temp_directory_path()))
      fail("{}: cannot be written, and neither can {}", beside(output).string(), fs::temp_directory_path().string());
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }

 private:
  bool make_in(const fs::path& where) {
    path_ = (where / ".crisp-study-XXXXXX").string();
    return ::mkdtemp(path_.data()) != nullptr;
  }

  std::string path_;
};

// Of the last training line of metrics.jsonl.
double last_rate(const std::string& path) {
  double rate = 0;
  for_each_json_line(path, [&](const JsonFields<ordered_json>& line) {
    rate = line.real("tokens_per_second", {.low = 0}).value_or(rate);
  });
  return rate;
}

// What a run does over `examples` training sentences. The unit of evaluations is that of `sentences`.
struct Amount {
  double epochs, evaluations;
};
Amount amount_of(const TrainOptions& length, double examples, double sentences) {
  const double steps_of_epoch =
      std::ceil(examples / static_cast<double>(length.batch_size * length.gradient_accumulation_steps));
  const double steps = length.max_steps > 0 ? static_cast<double>(length.max_steps)
                                            : std::ceil(length.epochs_or_default() * steps_of_epoch);
  const double between = length.eval_steps > 0 ? static_cast<double>(length.eval_steps) : steps_of_epoch;
  const double at_end = std::min(examples, static_cast<double>(length.eval_train)) / sentences;
  return {steps / steps_of_epoch, std::max(1.0, std::ceil(steps / between)) + at_end};
}

// A complete run, from which others are foreseen.
struct Finished {
  ordered_json results;
  double seconds;
  TrainOptions options;
};

// The mean over those whose results tell; NaN where none does.
double foreseen_seconds(const std::vector<Finished>& runs, const TrainOptions& wanted) {
  std::vector<double> foreseen;
  for (const Finished& run : runs) {
    try {
      const auto rate = run.results.at("train_tokens_per_second").get<double>();
      const double seconds = whole_run_seconds(run.results, run.seconds, rate, run.options, wanted);
      if (std::isfinite(seconds)) foreseen.push_back(seconds);
    } catch (const ordered_json::exception&) {  // a damaged file
    }
  }
  return mean(foreseen);
}

}  // namespace

double Estimate::seconds(const std::string& arm) const {
  const auto found = of_arm.find(arm);
  return found == of_arm.end() ? mean : found->second;
}

TrainOptions run_options(const OptionMap& options) {
  TrainOptions o;
  for (const auto& [name, value] : options)
    if (const auto* setting = find_setting(train_settings(), name)) setting->set(o, value);
  if (!o.epochs && trains_sample(o.weights, o.init, o.data, o.train)) o.epochs = sample_epochs;
  return o;
}

double whole_run_seconds(const ordered_json& results, double elapsed, double tokens_per_second,
                         const TrainOptions& measured, const TrainOptions& wanted) {
  const ordered_json& settings = results.at("settings");
  const auto examples = settings.at("training_examples").get<double>(), steps = results.at("step").get<double>(),
             trained = results.at("train_runtime").get<double>();
  const double sentences = results.at("eval_total").get<double>() + results.value("selection_total", 0.0);
  const Amount of_measured = amount_of(measured, examples, sentences),
               of_wanted = amount_of(wanted, examples, sentences);
  // The start lasts until the first step has been done; what follows the training is the evaluations.
  const double others = std::max(0.0, elapsed - trained);
  const double start =
      std::clamp(results.value("startup_seconds", elapsed) - trained / std::max(1.0, steps), 0.0, others);
  const double evaluation = (others - start) / of_measured.evaluations;
  const double training = of_wanted.epochs * settings.at("training_tokens").get<double>() / tokens_per_second;
  return start + training + of_wanted.evaluations * evaluation;
}

Estimate estimate_from_finished(const Study& study, const std::string& output) {
  Estimate estimate;
  std::vector<double> all;
  std::vector<Finished> first;  // of each arm
  for (const Study::Arm& arm : study.arms) {
    std::vector<double> of_arm;
    for (const uint64_t seed : study.seeds) {
      const RunFiles files = run_files(output, arm.name, seed);
      const RunState state = read_state(files);
      if (state.status != RunStatus::complete || !(state.seconds > 0)) continue;
      if (of_arm.empty())
        first.push_back({read_json_object(files.results), state.seconds, run_options(study.options_of(arm))});
      of_arm.push_back(state.seconds);
    }
    if (!of_arm.empty()) estimate.of_arm[arm.name] = mean(of_arm);
    all.insert(all.end(), of_arm.begin(), of_arm.end());
  }
  estimate.mean = mean(all);
  for (const Study::Arm& arm : study.arms) {
    if (estimate.of_arm.contains(arm.name)) continue;
    const double seconds = foreseen_seconds(first, run_options(study.options_of(arm)));
    if (std::isfinite(seconds)) estimate.of_arm[arm.name] = seconds;
  }
  estimate.basis = "from " + count_of(std::ssize(all), "finished run");
  return estimate;
}

Estimate estimate_by_measuring(const Study& study, const RunnerOptions& options) {
  const auto arm = arm_named(study.arms, study.baseline);
  if (arm == study.arms.end()) fail("the baseline is no arm");
  TrainOptions measured = run_options(study.options_of(*arm));
  const int64_t steps = measured.max_steps > 0 ? std::min<int64_t>(measured.max_steps, measured_steps) : measured_steps;
  measured.max_steps = measured.eval_steps = steps;
  measured.eval_train = 0;
  const Scratch scratch(options.output);
  std::vector<std::string> command = train_command(study, *arm, options);
  command.insert(command.end(),
                 {fmt::format("--max-steps={}", steps), fmt::format("--logging-steps={}", (steps + 1) / 2),
                  fmt::format("--eval-steps={}", steps), "--save-steps=0", "--eval-train=0",
                  fmt::format("--seed={}", study.seeds.front()), "--output=" + scratch.path() + "/run"});
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
  leave_if_interrupted();
  if (*exit_code != 0) fail("the measurement failed: crisp-train: {}", last_error(files));
  Estimate estimate;
  const double elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  const double rate = last_rate(scratch.path() + "/run/metrics.jsonl");
  if (!(rate > 0)) fail("the measurement of the training's speed failed");
  const ordered_json results = read_json_object(scratch.path() + "/run/all_results.json");
  for (const Study::Arm& a : study.arms)
    estimate.of_arm[a.name] = whole_run_seconds(results, elapsed, rate, measured, run_options(study.options_of(a)));
  estimate.mean = estimate.of_arm[study.baseline];
  estimate.basis = fmt::format("from {} steps of the arm {}, measured now", steps, arm->name);
  return estimate;
}

}  // namespace crisp
