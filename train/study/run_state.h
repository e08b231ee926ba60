// One run of a study on disk: OUTPUT/runs/ARM/seed-S/, and beside it its log and, while somebody works on it, its lock.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace crisp {

struct RunFiles {
  std::string directory;  // OUTPUT/runs/ARM/seed-S, crisp-train's --output
  std::string log;        // what crisp-train said, one start after another
  std::string lock;
  std::string status;   // directory + "/study_status.json"
  std::string results;  // directory + "/all_results.json"
};
RunFiles run_files(const std::string& output, const std::string& arm, uint64_t seed);

enum class RunStatus : uint8_t {
  missing,      // never begun
  begun,        // being worked on, or its process died
  interrupted,  // by a signal to the runner: the next start goes on
  failed,       // ended with an error: the next start tries again
  diverged,     // a loss or gradient was not finite: final
  complete,     // final
};
/// "missing", "begun", ..
const char* status_name(RunStatus status);

/// study_status.json: {"status": .., "exit_code": .., "message": .., "seconds": .., "starts": .., "own": ..}.
struct RunState {
  RunStatus status = RunStatus::missing;
  int exit_code = 0;
  std::string message;  // of the error
  double seconds = 0;   // on the clock, over all starts
  int64_t starts = 0;
  bool own = false;  // begun by the study: what was there before it is never deleted

  bool final() const { return status == RunStatus::diverged || status == RunStatus::complete; }
};
/// `missing` where there is no file or a damaged one; `failed` where it says `complete` but the results do not count.
RunState read_state(const RunFiles& files);
/// Makes the run's directory if need be. Throws Error.
void write_state(const RunFiles& files, const RunState& state);

/// Of all_results.json; total = 0 where the run has not written its results, or they do not count.
struct RunAccuracy {
  int64_t correct = 0, total = 0;
  std::string complaint{};  // why they do not count; "" where they do
};
RunAccuracy read_accuracy(const nlohmann::ordered_json& results);
RunAccuracy read_accuracy(const RunFiles& files);

/// The error that the run's last start left in its log; "" where it left none.
std::string last_error(const RunFiles& files);

/// Whether the directory has anything in it.
bool holds_files(const RunFiles& files);

/// Which of their inputs two runs with results do not share (training data, dev data, weights), by the hashes in
/// all_results.json: a phrase with `run`'s file; "" where none differs or a hash is missing.
std::string differing_input(const RunFiles& run, const RunFiles& other);

/// Deletes the run's model, and its checkpoints if so told; its results stay. Throws Error.
void delete_model(const RunFiles& files, bool checkpoints_too);

}  // namespace crisp
