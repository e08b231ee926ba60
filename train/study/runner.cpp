#include "train/study/runner.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <list>
#include <optional>
#include <set>
#include <thread>

#include "engine/error.h"
#include "engine/parallel.h"
#include "train/interrupt.h"
#include "train/lock_file.h"
#include "train/output_directory.h"
#include "train/study/child.h"
#include "train/study/estimate.h"
#include "weights/locate.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Status = RunState::Status;

constexpr auto look_at_children = std::chrono::milliseconds(50);
constexpr auto look_at_others = std::chrono::seconds(1);

template <class... Args>
void say(fmt::format_string<Args...> text, Args&&... args) {
  fmt::print(stderr, text, std::forward<Args>(args)...);
  std::fputc('\n', stderr);
}

std::string time_of_day() {
  char text[32] = "";
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  if (localtime_r(&now, &parts) != nullptr) std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

class Runner {
 public:
  Runner(const Study& study, const RunnerOptions& options)
      : study_(study), options_(options), runs_(planned_runs(study, options)) {
    for (size_t i = 0; i < runs_.size(); ++i) {
      const RunState state = read_state(runs_[i].files);
      if (state.final()) {
        done_.insert(i);
        continue;
      }
      waiting_.push_back(i);
      if (state.status == Status::failed) failed_before_.insert(i);
    }
  }

  int go() {
    say("study {}: {} arms, {} seeds: {} runs{}, {} done already; in {}", study_.name, study_.arms.size(),
        study_.seeds.size(), runs_.size(),
        options_.shards > 1 ? fmt::format(" of shard {}/{}", options_.shard, options_.shards) : "", done_.size(),
        options_.output);
    if (!waiting_.empty()) require_space();
    const InterruptHandler signals;
    auto next_look = Clock::now();
    while (!waiting_.empty() || !working_.empty()) {
      if (interrupted() != 0) return stop(interrupted());
      const bool some_ended = collect();
      if (some_ended || Clock::now() >= next_look) {
        start_what_is_free();
        next_look = Clock::now() + look_at_others;
      }
      if (!waiting_.empty() || !working_.empty()) std::this_thread::sleep_for(look_at_children);
    }
    return failures_ > 0 ? 1 : 0;
  }

 private:
  struct Work {
    size_t run;
    LockFile lock;
    Child child;
    Clock::time_point begin;
    double seconds_before;
  };

  // A rough bound: crisp-train checks again, for its own run.
  void require_space() const {
    uint64_t model = 0, kept = 0;
    for (const Study::Arm& arm : study_.arms) {
      const OptionMap all = study_.options_of(arm);
      const auto weights = all.find("weights");
      if (weights != all.end()) model = std::max<uint64_t>(model, fs::file_size(locate_weights(weights->second)));
    }
    if (options_.keep_models) kept = waiting_.size() * model;
    const uint64_t at_once = std::min<uint64_t>(static_cast<uint64_t>(options_.jobs), waiting_.size()) * 10 * model;
    require_free_space(options_.output, at_once + kept + waiting_.size() * (uint64_t{2} << 20), "the study");
  }

  void start_what_is_free() {
    for (auto it = waiting_.begin(); it != waiting_.end() && std::ssize(working_) < options_.jobs;) {
      const size_t run = *it;
      it = start(run) ? waiting_.erase(it) : std::next(it);
    }
    if (working_.empty() && !waiting_.empty() && !told_of_others_) {
      say("{} run{} in the hands of other processes: waiting", waiting_.size(), waiting_.size() == 1 ? " is" : "s are");
      told_of_others_ = true;
    }
  }

  // False when another runner has claimed it.
  bool start(size_t index) {
    const PlannedRun& run = runs_[index];
    std::error_code ignored;
    fs::create_directories(fs::path(run.files.directory).parent_path(), ignored);
    LockFile lock(run.files.lock);
    if (!lock.held()) return false;
    RunState state = read_state(run.files);  // what another runner may have made of it meanwhile
    const bool failed_meanwhile = state.status == Status::failed && !failed_before_.contains(index);
    if (state.final() || failed_meanwhile) {
      failures_ += failed_meanwhile;
      tell(index, state);
      return true;
    }
    std::vector<std::string> command = train_command(study_, *run.arm, options_);
    command.push_back(fmt::format("--seed={}", run.seed));
    command.push_back("--output=" + run.files.directory);
    command.push_back("--resume");
    state.status = Status::begun;
    write_state(run.files, state);
    {
      std::ofstream log(run.files.log, std::ios::app);
      log << "== " << time_of_day() << ": " << fmt::format("{}", fmt::join(command, " ")) << "\n";
    }
    say("{}, seed {}: started", run.arm->name, run.seed);
    Child child(command, run.files.log, lock.descriptor());
    working_.push_back({index, std::move(lock), std::move(child), Clock::now(), state.seconds});
    return true;
  }

  // Whether a child has ended.
  bool collect() {
    bool some = false;
    for (auto it = working_.begin(); it != working_.end();) {
      const std::optional<int> exit_code = it->child.ended();
      if (exit_code) {
        finish(*it, *exit_code, 0);
        it = working_.erase(it);
        some = true;
      } else {
        ++it;
      }
    }
    return some;
  }

  void finish(const Work& work, int exit_code, int signal) {
    const PlannedRun& run = runs_[work.run];
    RunState state{.status = Status::failed,
                   .exit_code = exit_code,
                   .message = last_error(run.files),
                   .seconds = work.seconds_before + std::chrono::duration<double>(Clock::now() - work.begin).count()};
    if (exit_code == 0 && read_accuracy(run.files).total > 0) {
      state.status = Status::complete;
      state.message.clear();
    } else if (exit_code == 4) {
      state.status = Status::diverged;
      state.message = state.message.substr(0, state.message.find('\n'));  // the rest is what crisp-train would do
    } else if (signal != 0 && exit_code == exit_code_of(signal)) {
      state.status = Status::interrupted;
      state.message = "interrupted";
    } else if (state.message.empty()) {
      state.message = exit_code > 128 ? fmt::format("ended by signal {}", exit_code - 128)
                                      : fmt::format("ended with exit code {}, without a message", exit_code);
    }
    if (state.final() && !options_.keep_models) delete_model(run.files);
    write_state(run.files, state);
    if (state.status == Status::interrupted) return;
    failures_ += state.status == Status::failed;
    tell(work.run, state);
  }

  // Nothing is left to do for the run here.
  void tell(size_t index, const RunState& state) {
    done_.insert(index);
    const PlannedRun& run = runs_[index];
    std::string outcome = accuracy_text(read_accuracy(run.files));
    if (state.status != Status::complete)
      outcome = fmt::format("{} (exit code {}): {}", state.status == Status::diverged ? "DIVERGED" : "FAILED",
                            state.exit_code, state.message);
    say("run {} of {}: {}, seed {}: {}, {}{}", done_.size(), runs_.size(), run.arm->name, run.seed, outcome,
        rough_duration(state.seconds), time_left());
  }

  std::string time_left() const {
    const Estimate estimate = estimate_from_finished(study_, options_.output);
    double seconds = 0;
    for (size_t i = 0; i < runs_.size(); ++i)
      if (!done_.contains(i)) seconds += estimate.seconds(runs_[i].arm->name);
    for (const Work& work : working_)
      if (!done_.contains(work.run)) seconds -= std::chrono::duration<double>(Clock::now() - work.begin).count();
    if (done_.size() == runs_.size() || !std::isfinite(seconds)) return "";
    return fmt::format("; about {} left", rough_duration(seconds / static_cast<double>(options_.jobs)));
  }

  int stop(int signal) {
    for (Work& work : working_) work.child.signal(signal);
    say("interrupted: waiting for {} run{} to save a checkpoint", working_.size(), working_.size() == 1 ? "" : "s");
    while (!working_.empty()) {
      for (auto it = working_.begin(); it != working_.end();) {
        const std::optional<int> exit_code = it->child.ended();
        if (exit_code) finish(*it, *exit_code, signal);
        it = exit_code ? working_.erase(it) : std::next(it);
      }
      std::this_thread::sleep_for(look_at_children);
    }
    say("{} of {} runs are done; start again to go on", done_.size(), runs_.size());
    return exit_code_of(signal);
  }

  const Study& study_;
  const RunnerOptions& options_;
  std::vector<PlannedRun> runs_;
  std::vector<size_t> waiting_;     // not begun here, in the order of the plan
  std::set<size_t> failed_before_;  // before this start: tried again
  std::list<Work> working_;
  std::set<size_t> done_;  // final, or failed in this call
  int64_t failures_ = 0;
  bool told_of_others_ = false;
};

}  // namespace

std::vector<PlannedRun> planned_runs(const Study& study, const RunnerOptions& options) {
  std::vector<PlannedRun> runs;
  int64_t number = 0;
  for (const uint64_t seed : study.seeds)
    for (const Study::Arm& arm : study.arms)
      if (number++ % options.shards == options.shard - 1)
        runs.push_back({&arm, seed, run_files(options.output, arm.name, seed)});
  return runs;
}

std::vector<std::string> train_command(const Study& study, const Study::Arm& arm, const RunnerOptions& options) {
  std::vector<std::string> command{options.crisp_train};
  for (const auto& [name, value] : study.options_of(arm)) command.push_back(fmt::format("--{}={}", name, value));
  if (!study.options_of(arm).contains("keep-checkpoints")) command.emplace_back("--keep-checkpoints=off");
  const int64_t threads = options.threads > 0 ? options.threads : num_threads();
  command.push_back(fmt::format("--threads={}", std::max<int64_t>(1, threads / options.jobs)));
  return command;
}

int run_study(const Study& study, const RunnerOptions& options) { return Runner(study, options).go(); }

std::string rough_duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(std::clamp(seconds, 0.0, 1e9)));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

std::string accuracy_text(const RunAccuracy& accuracy) {
  if (accuracy.total == 0) return "no results";
  return fmt::format("{}/{} = {:.2f} %", accuracy.correct, accuracy.total,
                     100 * static_cast<double>(accuracy.correct) / static_cast<double>(accuracy.total));
}

}  // namespace crisp
