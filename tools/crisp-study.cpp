// crisp-study: arms x seeds of crisp-train, resumable, on any number of processes.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "data/input/file.h"
#include "data/input/text.h"
#include "engine/context.h"
#include "engine/fail.h"
#include "engine/system.h"
#include "tools/options.h"
#include "tools/sample_root.h"
#include "tools/study_options.h"
#include "train/durable/console.h"
#include "train/inference/limits.h"
#include "train/run/run.h"
#include "train/study/estimate.h"
#include "train/study/report.h"
#include "train/study/runner.h"
#include "train/study/study.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;

struct StudyOptions {
  std::string study, seeds, shard;
  bool show = false, dry_run = false, report = false;
  RunnerOptions runner;
};

// crisp-study's own options beside crisp-train's; "seed" is refused.
const std::vector<std::string> own_names{"seeds",       "shard",       "jobs",    "show", "dry-run",
                                         "keep-models", "crisp-train", "threads", "seed", "output",
                                         "overwrite",   "resume",      "config",  "help", "report"};

void add_study_options(CLI::App& app, StudyOptions& o) {
  const auto in_group = [](CLI::Option* option) { option->group("Study"); };
  app.add_option("study", o.study, "crisp, breaking-bert, or the path of a study file")->type_name("PRESET|FILE");
  in_group(add_text(app, "seeds", o.seeds, "How many, or which: 1,5,7 (default: the study's own)", "N|S1,S2,.."));
  in_group(add_flag(app, "dry-run", o.dry_run, "List the runs, with an estimate of the time, and do none"));
  in_group(add_flag(app, "report", o.report,
                    "Write the report of the runs that OUTPUT has, and do none; alone with --output"));
  in_group(add_flag(app, "show", o.show, "Print the study as a file, to be changed and used, and do nothing"));
  in_group(add_integer(app, "jobs", o.runner.jobs, 1, most_threads, "Runs at a time; they share --threads"));
  in_group(add_text(app, "shard", o.shard,
                    "Do the I-th of N parts of the runs only: whole seeds, where there are as many", "I/N"));
  in_group(add_setting(
      app, o.runner,
      setting::on_off("keep-models", &RunnerOptions::keep_models, "Keep each run's model, not its results alone")));
  in_group(
      add_text(app, "crisp-train", o.runner.crisp_train, "The program (default: the one beside crisp-study)", "FILE"));
}

std::string default_crisp_train() {
  std::error_code error;
  const fs::path self = fs::read_symlink(os::this_program(), error);
  return (self.parent_path() / "crisp-train").string();
}

void parse_shard(const std::string& text, RunnerOptions& o) {
  if (text.empty()) return;
  const size_t slash = text.find('/');
  try {
    size_t used = 0, used_n = 0;
    o.shard = std::stoll(text, &used);
    o.shards = std::stoll(text.substr(slash + 1), &used_n);
    if (used == slash && slash + 1 + used_n == text.size() && o.shard >= 1 && o.shard <= o.shards) return;
  } catch (const std::logic_error&) {  // no number
  }
  fail<UsageError>("--shard: must be I/N with I from 1 to N, not '{}'", text);
}

// A preset's text: with the arms that follow dependency parses, where it has such arms and there are parses.
std::string preset_text(const std::string& preset, const TrainOptions& train) {
  const std::string with = study_preset(preset, true), without = study_preset(preset, false);
  if (with == without) return with;
  const DataFiles files = find_data_files(train);
  if (!files.train_parses.empty() && !files.dev_parses.empty()) return with;
  if (!train.parses.empty() || !train.dev_parses.empty())
    fail<UsageError>(
        "{}: its arms by syntax need the parses of both sets, --parses FILE and --dev-parses FILE: give {}", preset,
        files.train_parses.empty() ? "--parses, too" : "--dev-parses, too");
  say("note: the arms by syntax are left out: they need --parses FILE and --dev-parses FILE, or train.conllu and "
      "dev.conllu in --data DIR");
  return without;
}

// A preset's text, or a file's.
std::string study_text(const std::string& study, const TrainOptions& train) {
  const auto& presets = study_preset_names();
  if (std::find(presets.begin(), presets.end(), study) != presets.end()) return preset_text(study, train);
  if (!input_exists(study))
    fail<BadInput>("{}: cannot be read; a study is a file or one of {}", study, fmt::join(presets, ", "));
  return read_input(study, input_limit::study);
}

// The study with what the command line says for all its arms.
Study resolve(const CLI::App& app, const StudyOptions& o, const TrainOptions& train) {
  Study study = parse_study(study_text(o.study, train), o.study);
  if (study.name.empty()) study.name = fs::path(o.study).stem().string();
  for (const std::string& note : check_study_options(study, given_train_options(app, own_names), o.study))
    say("note: {}", note);
  choose_evaluations(study);
  study.options.emplace("eval-train", "1000");
  if (check_study_inputs(study, sample_root()))
    say("note: no --weights and no --data: the study is of the bundled sample, a small model on made-up "
        "film reviews");
  if (!o.seeds.empty()) study.seeds = parse_seeds(o.seeds);
  if (study.seeds.empty()) fail<UsageError>("{} names no seeds: give --seeds", o.study);
  return study;
}

void list_runs(const Study& study, const RunnerOptions& options) {
  const std::vector<PlannedRun> runs = planned_runs(study, options);
  Estimate estimate = estimate_from_finished(study, options.output);
  if (std::isnan(estimate.mean)) {
    say("no run is finished: measuring a few steps");
    estimate = estimate_by_measuring(study, options);
  }
  double seconds = 0;
  int64_t left = 0;
  for (const PlannedRun& run : runs) {
    const RunState state = read_state(run.files);
    const double of_run = estimate.seconds(run.arm->name);
    if (!state.final()) seconds += of_run, ++left;
    const std::string outcome = state.status == RunStatus::complete ? accuracy_text(read_accuracy(run.files))
                                : state.final()                     ? printable(state.message)
                                                                    : "about " + rough_duration(of_run);
    fmt::print("{:<24} seed {:<4} {:<12} {}\n", run.arm->name, run.seed, status_name(state.status), outcome);
  }
  const int64_t at_once = std::max<int64_t>(1, std::min(options.jobs, left));
  fmt::print("{}, {} to do: about {} with {} at a time ({})\n", count_of(std::ssize(runs), "run"), left,
             rough_duration(seconds / static_cast<double>(at_once)), at_once, estimate.basis);
}

void write_report(const std::string& output) {
  const LockFile lock = lock_study(output, "report");
  write_study_report(output);
}

void name_report_files(const std::string& output) { fmt::print("{0}/report.html, results.json, runs.csv\n", output); }

// Every run, and each arm's mean; on standard output, whose failure shows at the end (finish_output).
void print_table(const Study& study, const std::string& output) {
  std::string table;
  for (const Study::Arm& arm : study.arms) {
    double sum = 0;
    int64_t count = 0;
    table += fmt::format("{:<24}", arm.name);
    for (const uint64_t seed : study.seeds) {
      const RunFiles files = run_files(output, arm.name, seed);
      const RunState state = read_state(files);
      if (state.status != RunStatus::complete) {
        table += fmt::format("  {:>8}", status_name(state.status));
        continue;
      }
      const RunAccuracy accuracy = read_accuracy(files);
      const double percent = 100 * static_cast<double>(accuracy.correct) / static_cast<double>(accuracy.total);
      table += fmt::format("  {:>8.2f}", percent);
      sum += percent;
      ++count;
    }
    table += fmt::format("  mean {}\n",
                         count > 0 ? fmt::format("{:.2f} % of {}", sum / static_cast<double>(count), count) : "-");
  }
  std::fputs(table.c_str(), stdout);
}

// The study that was run, whatever else the command line says.
int report_only(const std::string& output) {
  const std::string path = output + "/study.json";
  if (!input_exists(path)) fail<UsageError>("{}: is not there; --output names the directory of a study", path);
  write_report(output);  // says what is wrong with the study
  print_table(parse_study(read_input(path, input_limit::study), path), output);
  name_report_files(output);
  return 0;
}

void limit_jobs(RunnerOptions& o) {
  const int64_t threads = o.threads > 0 ? o.threads : default_num_threads();
  if (o.jobs <= threads) return;
  say("note: {} at a time, not {}: there {}", count_of(threads, "run"), o.jobs,
      threads == 1 ? "is 1 thread" : fmt::format("are {} threads", threads));
  o.jobs = threads;
}

int run(const CLI::App& app, StudyOptions& o, const TrainOptions& train) {
  if (o.report) return report_only(train.output);
  if (o.study.empty()) fail<UsageError>("which study? One of {}, or a file", fmt::join(study_preset_names(), ", "));
  if (app.count("--seed") > 0) fail<UsageError>("--seed: a study has several; give --seeds");
  if (train.overwrite) fail<UsageError>("--overwrite: a study is never overwritten; delete its directory yourself");
  if (o.show) {
    fmt::print("{}", study_text(o.study, train));
    return 0;
  }
  o.runner.output = train.output;
  o.runner.threads = train.threads;
  if (o.runner.crisp_train.empty()) o.runner.crisp_train = default_crisp_train();
  if (::access(o.runner.crisp_train.c_str(), X_OK) != 0)
    fail<UsageError>("{}: is no program; give --crisp-train PATH", o.runner.crisp_train);
  parse_shard(o.shard, o.runner);
  limit_jobs(o.runner);
  const Study study = resolve(app, o, train);
  if (o.dry_run) {
    check_record(study, o.runner.output);
    list_runs(study, o.runner);
    return 0;
  }
  record_study(study, o.runner.output);
  const int exit_code = run_study(study, o.runner);
  const bool stopped = exit_code >= 128;  // who interrupts does not want to wait
  if (!stopped) write_report(o.runner.output);
  print_table(study, o.runner.output);
  if (stopped) return exit_code;
  name_report_files(o.runner.output);
  return exit_code;
}

}  // namespace
}  // namespace crisp

int main(int argc, char** argv) {
  std::signal(SIGUSR1, SIG_IGN);  // run_study passes it on; where there is nothing to save it means nothing
  CLI::App app(
      "Trains every arm of a study with every seed, and resumes where it stopped. Options of crisp-train hold for all "
      "arms.",
      "crisp-study");
  crisp::TrainOptions train;
  train.output = "study";
  crisp::add_train_options(app, train, false);  // they join those of the arms
  crisp::StudyOptions options;
  crisp::add_study_options(app, options);
  return crisp::run_program(app, argc, argv, [&] { return crisp::run(app, options, train); });
}
