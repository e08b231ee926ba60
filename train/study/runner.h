// Doing a study's runs: each a crisp-train process, claimed by a lock, so that several runners may share a directory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/study/run_state.h"
#include "train/study/study.h"

namespace crisp {

struct RunnerOptions {
  std::string output;             // the study's directory
  std::string crisp_train;        // the program
  int64_t jobs = 1;               // processes at a time
  int64_t threads = 0;            // of all of them together; 0: as many as there are cores
  int64_t shard = 1, shards = 1;  // which part of the runs: see planned_runs()
  bool keep_models = false;       // else a run's model is deleted when its results are complete
};

struct PlannedRun {
  const Study::Arm* arm;
  uint64_t seed;
  RunFiles files;
};
/// The runs of the shard: seed by seed all arms, so that a study that is cut short can be compared. Shards may be
/// machines whose kernels differ in the last bits, so a seed, whose arms are paired, is one shard's as long as there
/// are as many seeds as shards; with more shards the runs are divided evenly, in their order, and arms of a seed may
/// part.
std::vector<PlannedRun> planned_runs(const Study& study, const RunnerOptions& options);

/// crisp-train's command line for an arm, but for --seed, --output, --resume and a default of --keep-checkpoints.
std::vector<std::string> train_command(const Study& study, const Study::Arm& arm, const RunnerOptions& options);

/// Does every run of the study (which has seeds) that is not final, and tells about it on stderr. A run that diverges
/// is recorded so and left alone; one that fails is recorded, left for the next call, and the others go on. Runs that
/// other runners have claimed are waited for, in case these die. SIGINT, SIGTERM and SIGHUP are passed to the children,
/// which save checkpoints and end, as they do when this throws; SIGUSR1 is passed on, too, and they save and go on.
/// Throws Error when the disk has too little room, BadInput when a run turns out to have had other data or weights than
/// a finished one (it is recorded as failed). Returns 0 when every run is final, 1 when some have failed, 129, 130 or
/// 143 after a signal.
int run_study(const Study& study, const RunnerOptions& options);

/// "1 seed", "2 seeds".
std::string count_of(int64_t n, const char* noun);
/// "2 h 10 min", "9 min 20 s", "12 s".
std::string rough_duration(double seconds);
/// "775/872 = 88.88 %".
std::string accuracy_text(const RunAccuracy& accuracy);

}  // namespace crisp
