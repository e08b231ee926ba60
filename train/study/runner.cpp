#include "train/study/runner.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <thread>

#include "engine/context.h"
#include "engine/fail.h"
#include "model/methods/method.h"
#include "train/durable/append_file.h"
#include "train/durable/console.h"
#include "train/durable/interrupt.h"
#include "train/durable/lock_file.h"
#include "train/durable/output_directory.h"
#include "train/study/child.h"
#include "train/study/estimate.h"
#include "weights/atomic_file.h"
#include "weights/file_changes.h"
#include "weights/locate.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto look_at_children = std::chrono::milliseconds(50);
constexpr auto look_at_others = std::chrono::seconds(1);

std::string time_of_day() {
  char text[32] = "";
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  if (localtime_r(&now, &parts) != nullptr) std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

bool keeps_checkpoints(const OptionMap& options) {
  const std::string given = option_or(options, "keep-checkpoints");
  return given == "on" || given == "true";
}

// The options that decide what a run reads, of which all_results.json has hashes.
OptionMap inputs_of(const OptionMap& options, uint64_t seed) {
  OptionMap inputs;
  const auto take = [&](std::span<const char* const> names) {
    for (const char* name : names)
      if (options.contains(name)) inputs[name] = options.at(name);
  };
  take(data_options);
  take(std::array{"selection-part"});
  const std::optional<SparseMethod> method = parse_method(option_or(options, "sparse-method"));
  if (method && about(*method).needs_parses)
    take(std::array{"sparse-method", "parses", "dev-parses", "sparse-train", "sparse-eval", "eval-train"});
  if (inputs.contains("selection-part")) inputs["seed"] = fmt::format("{}", seed);  // it decides which part
  return inputs;
}

class Runner {
 public:
  Runner(const Study& study, const RunnerOptions& options)
      : study_(study), options_(options), runs_(planned_runs(study, options)) {
    for (size_t i = 0; i < runs_.size(); ++i) {
      const RunState state = read_state(runs_[i].files);
      if (state.final()) {
        LockFile::tidy(runs_[i].files.lock);
        done_.insert(i);
        continue;
      }
      waiting_.push_back(i);
      if (state.status == RunStatus::failed) failed_before_[i] = state.starts;
    }
  }

  int go() {
    say("study {}: {}, {}: {}{}, {} done already; in {}", study_.name, count_of(std::ssize(study_.arms), "arm"),
        count_of(std::ssize(study_.seeds), "seed"), count_of(std::ssize(runs_), "run"),
        options_.shards > 1 ? fmt::format(" of shard {}/{}", options_.shard, options_.shards) : "", done_.size(),
        options_.output);
    if (options_.shards > std::ssize(study_.seeds) && study_.arms.size() > 1)
      say("note: {} for {}: arms of a seed are made on different machines, which may differ in the last bits; with at "
          "most {} a seed's arms are made on one",
          count_of(options_.shards, "shard"), count_of(std::ssize(study_.seeds), "seed"),
          count_of(std::ssize(study_.seeds), "shard"));
    if (!waiting_.empty()) require_space();
    const InterruptHandler signals;
    try {
      return work();
    } catch (...) {  // the children's hours are not lost over an error here
      if (!working_.empty()) save_and_end(SIGTERM, "stopping");
      throw;
    }
  }

 private:
  struct Work {
    size_t run;
    LockFile lock;
    Child child;
    Clock::time_point begin;
    RunState state;  // as it was begun
  };

  int work() {
    auto next_look = Clock::now();
    while (!waiting_.empty() || !working_.empty()) {
      if (interrupted() != 0) return stop(interrupted());
      if (take_save_request()) {
        for (Work& work : working_) work.child.signal(SIGUSR1);
        say("SIGUSR1: {} told to save a checkpoint", count_of(std::ssize(working_), "run"));
      }
      const bool some_ended = collect(0);
      if (!other_data_.empty()) fail<BadInput>("{}", other_data_);  // so would all the others
      if (some_ended || Clock::now() >= next_look) {
        start_what_is_free();
        next_look = Clock::now() + look_at_others;
      }
      if (!waiting_.empty() || !working_.empty()) std::this_thread::sleep_for(look_at_children);
    }
    return failures_ > 0 ? 1 : 0;
  }

  // A rough bound: crisp-train checks again, for its own run.
  void require_space() const {
    uint64_t model = 0, kept = 0;
    for (const Study::Arm& arm : study_.arms) {
      const std::string weights = option_or(study_.options_of(arm), "weights");
      if (!weights.empty()) model = std::max<uint64_t>(model, fs::file_size(locate_weights(weights)));
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
      say("{} {} in the hands of other processes: waiting", count_of(std::ssize(waiting_), "run"),
          waiting_.size() == 1 ? "is" : "are");
      told_of_others_ = true;
    }
  }

  // False when another runner has claimed it. An error is the run's, not the study's.
  bool start(size_t index) {
    const PlannedRun& run = runs_[index];
    LockFile lock;
    RunState state;
    try {
      make_directories(parent_directory(run.files.directory));
      lock = LockFile(run.files.lock);
      if (!lock.held()) return false;
      remove_leftovers(run.files);
      state = read_state(run.files);  // what another runner may have made of it meanwhile
      const auto before = failed_before_.find(index);
      const bool tried_since = before == failed_before_.end() || before->second != state.starts;
      const bool failed_meanwhile = state.status == RunStatus::failed && tried_since;
      if (!state.final() && !failed_meanwhile) {
        begin(index, lock, state);
        return true;
      }
    } catch (const std::exception& error) {
      state.status = RunStatus::failed;
      state.exit_code = 1;
      state.message = error.what();
      record_if_possible(run.files, lock, state);
    }
    failures_ += state.status == RunStatus::failed;
    tell(index, state);
    return true;
  }

  // Of a runner that was killed while it wrote down the run's state: no file that somebody made by hand.
  static void remove_leftovers(const RunFiles& files) {
    const fs::path status = files.status;
    std::error_code none;
    if (fs::is_directory(files.directory, none)) remove_temporary_files(files.directory, {status.filename().string()});
  }

  static void record_if_possible(const RunFiles& files, const LockFile& lock, const RunState& state) {
    try {
      if (lock.held()) write_state(files, state);
    } catch (const Error&) {  // what is wrong is told anyway
    }
  }

  void begin(size_t index, LockFile& lock, RunState& state) {
    const PlannedRun& run = runs_[index];
    if (state.status == RunStatus::missing) state.own = !holds_files(run.files);
    std::vector<std::string> command = train_command(study_, *run.arm, options_);
    command.insert(command.end(), {fmt::format("--seed={}", run.seed), "--output=" + run.files.directory, "--resume"});
    if (state.own && !study_.options_of(*run.arm).contains("keep-checkpoints"))
      command.emplace_back("--keep-checkpoints=off");
    state.status = RunStatus::begun;
    ++state.starts;
    write_state(run.files, state);
    AppendFile(run.files.log, AppendFile::Open::any)
        .append(fmt::format("== {}: {}\n", time_of_day(), fmt::join(command, " ")));
    say("{}, seed {}: started", run.arm->name, run.seed);
    Child child(command, run.files.log, lock.descriptor());
    lock.share_with(child.id());
    working_.push_back({index, std::move(lock), std::move(child), Clock::now(), state});
  }

  // Finishes the runs whose children have ended, after a signal to them or (0) without; whether there were any.
  bool collect(int signal) {
    const size_t before = working_.size();
    for (auto it = working_.begin(); it != working_.end();) {
      const auto work = it++;
      const std::optional<int> exit_code = work->child.ended();
      if (!exit_code) continue;
      const Work ended = std::move(*work);
      working_.erase(work);
      try {
        finish(ended, *exit_code, signal);
      } catch (const std::exception& error) {
        if (signal == 0) throw;
        say("{}", error.what());  // the others are to be waited for
      }
    }
    return working_.size() < before;
  }

  void finish(const Work& work, int exit_code, int signal) {
    const PlannedRun& run = runs_[work.run];
    RunState state = work.state;
    state.status = RunStatus::failed;
    state.exit_code = exit_code;
    state.message = last_error(run.files);
    state.seconds += std::chrono::duration<double>(Clock::now() - work.begin).count();
    const std::string damage = read_accuracy(run.files).complaint;
    const bool has_results = exit_code == 0 && damage.empty();
    const std::string complaint = has_results ? other_data(run) : "";
    if (!complaint.empty()) {
      state.message = other_data_ = complaint;
    } else if (exit_code == 0 && !has_results) {
      state.message = fmt::format("it ended well, but {}; delete {} to train it anew", damage, run.files.directory);
    } else if (has_results) {
      state.status = RunStatus::complete;
      state.message.clear();
    } else if (exit_code == 4) {
      state.status = RunStatus::diverged;
      state.message = state.message.substr(0, state.message.find('\n'));  // the rest is what crisp-train would do
    } else if (signal != 0 && exit_code == exit_code_of(signal)) {
      state.status = RunStatus::interrupted;
      state.message = "interrupted";
    } else if (state.message.empty()) {
      state.message = exit_code > 128 ? fmt::format("ended by signal {}", exit_code - 128)
                                      : fmt::format("ended with exit code {}, without a message", exit_code);
    }
    if (state.final() && state.own && !options_.keep_models)
      delete_model(run.files, !keeps_checkpoints(study_.options_of(*run.arm)));
    write_state(run.files, state);
    if (state.status == RunStatus::interrupted) return;
    failures_ += state.status == RunStatus::failed;
    tell(work.run, state);
  }

  // Why the run cannot be compared with a finished one of the same files; "" when it can.
  std::string other_data(const PlannedRun& run) const {
    const OptionMap inputs = inputs_of(study_.options_of(*run.arm), run.seed);
    for (const uint64_t seed : study_.seeds)
      for (const Study::Arm& arm : study_.arms) {
        const RunFiles other = run_files(options_.output, arm.name, seed);
        if (other.directory == run.files.directory || inputs_of(study_.options_of(arm), seed) != inputs ||
            read_state(other).status != RunStatus::complete)
          continue;
        const std::string input = differing_input(run.files, other);
        if (input.empty()) return "";
        return fmt::format(
            "{}, seed {}: the {} (or what belongs to it) has changed since {}, seed {}, was trained\nPut back what was "
            "there and delete {}, or choose another --output",
            run.arm->name, run.seed, input, arm.name, seed, run.files.directory);
      }
    return "";
  }

  // Nothing is left to do for the run here.
  void tell(size_t index, const RunState& state) {
    done_.insert(index);
    const PlannedRun& run = runs_[index];
    std::string outcome = accuracy_text(read_accuracy(run.files));
    if (state.status != RunStatus::complete)
      outcome = fmt::format("{} (exit code {}): {}", state.status == RunStatus::diverged ? "DIVERGED" : "FAILED",
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
    const int64_t at_once = std::min(options_.jobs, std::ssize(runs_) - std::ssize(done_));
    return fmt::format("; about {} left", rough_duration(seconds / static_cast<double>(at_once)));
  }

  int stop(int signal) {
    save_and_end(signal, "interrupted");
    say("{} of {} runs are done; start again to go on", done_.size(), runs_.size());
    return exit_code_of(signal);
  }

  void save_and_end(int signal, const char* why) {
    for (Work& work : working_) work.child.signal(signal);
    say("{}: waiting for {} to save a checkpoint (a third Ctrl-C leaves them to it)", why,
        count_of(std::ssize(working_), "run"));
    while (!working_.empty()) {
      collect(signal);
      std::this_thread::sleep_for(look_at_children);
    }
  }

  const Study& study_;
  const RunnerOptions& options_;
  std::vector<PlannedRun> runs_;
  std::vector<size_t> waiting_;              // not begun here, in the order of the plan
  std::map<size_t, int64_t> failed_before_;  // when this process began, after so many starts: tried again
  std::list<Work> working_;
  std::set<size_t> done_;  // final, or failed in this call
  int64_t failures_ = 0;
  std::string other_data_;  // that a run has had: nothing more is started
  bool told_of_others_ = false;
};

}  // namespace

std::vector<PlannedRun> planned_runs(const Study& study, const RunnerOptions& options) {
  const int64_t seeds = std::ssize(study.seeds), arms = std::ssize(study.arms);
  const int64_t shards = std::min(options.shards, seeds * arms);  // the others have nothing to do
  std::vector<PlannedRun> runs;
  for (int64_t s = 0; s < seeds; ++s)
    for (int64_t a = 0; a < arms; ++a) {
      const int64_t shard = seeds >= shards ? s % shards : (s * arms + a) * shards / (seeds * arms);
      if (shard != options.shard - 1) continue;
      const Study::Arm& arm = study.arms[static_cast<size_t>(a)];
      const uint64_t seed = study.seeds[static_cast<size_t>(s)];
      runs.push_back({&arm, seed, run_files(options.output, arm.name, seed)});
    }
  return runs;
}

std::vector<std::string> train_command(const Study& study, const Study::Arm& arm, const RunnerOptions& options) {
  std::vector<std::string> command{options.crisp_train};
  for (const auto& [name, value] : study.options_of(arm)) command.push_back(fmt::format("--{}={}", name, value));
  const int64_t threads = options.threads > 0 ? options.threads : default_num_threads();
  command.push_back(fmt::format("--threads={}", std::max<int64_t>(1, threads / options.jobs)));
  return command;
}

int run_study(const Study& study, const RunnerOptions& options) { return Runner(study, options).go(); }

std::string count_of(int64_t n, const char* noun) { return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s"); }

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
