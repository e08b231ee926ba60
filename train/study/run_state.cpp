#include "train/study/run_state.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "data/input/file.h"
#include "data/input/json.h"
#include "engine/error.h"
#include "train/checkpoint_store.h"
#include "train/metrics.h"
#include "train/output_directory.h"
#include "train/study/json_fields.h"
#include "weights/atomic_file.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;
using json_fields::member, json_fields::number, json_fields::text, json_fields::whole;
using Status = RunState::Status;

constexpr std::array<std::pair<Status, const char*>, 6> words{{{Status::none, "missing"},
                                                               {Status::begun, "begun"},
                                                               {Status::interrupted, "interrupted"},
                                                               {Status::failed, "failed"},
                                                               {Status::diverged, "diverged"},
                                                               {Status::complete, "complete"}}};

struct Results {
  RunAccuracy accuracy;
  std::string complaint;
};

Results read_results(const RunFiles& files) {
  const ordered_json results = read_json_object(files.directory + "/all_results.json");
  if (!results.contains("settings")) return {{}, "all_results.json is absent or damaged"};  // what is written last
  const RunAccuracy accuracy{whole(results, "eval_correct", -1), whole(results, "eval_total", -1)};
  if (accuracy.total > 0 && accuracy.correct >= 0 && accuracy.correct <= accuracy.total) return {accuracy, ""};
  return {{},
          fmt::format("all_results.json says {} of {} right (eval_correct, eval_total), which is no count",
                      show_json(member(results, "eval_correct")), show_json(member(results, "eval_total")))};
}

}  // namespace

RunFiles run_files(const std::string& output, const std::string& arm, uint64_t seed) {
  const std::string directory = fmt::format("{}/runs/{}/seed-{}", output, arm, seed);
  return {directory, directory + ".log", directory + ".lock", directory + "/study_status.json"};
}

const char* status_word(Status status) {
  for (const auto& [value, word] : words)
    if (value == status) return word;
  return "";
}

RunState read_state(const RunFiles& files) {
  const ordered_json object = read_json_object(files.status);
  RunState state;
  const std::string word = text(object, "status");
  for (const auto& [value, name] : words)
    if (word == name) state.status = value;
  state.exit_code = static_cast<int>(whole(object, "exit_code"));
  state.message = text(object, "message");
  state.seconds = std::max(0.0, number(object, "seconds"));  // 0 for NaN
  state.starts = whole(object, "starts");
  state.own = member(object, "own") == ordered_json(true);
  if (state.status != Status::complete) return state;
  if (const std::string complaint = results_complaint(files); !complaint.empty()) {
    state.status = Status::failed;
    state.message = complaint;
  }
  return state;
}

void write_state(const RunFiles& files, const RunState& state) {
  make_directories(files.directory);
  const ordered_json object{{"status", status_word(state.status)},
                            {"exit_code", state.exit_code},
                            {"message", state.message},
                            {"seconds", state.seconds},
                            {"starts", state.starts},
                            {"own", state.own}};
  // A message may quote what is no UTF-8.
  write_file_atomically(files.status, object.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

RunAccuracy read_accuracy(const RunFiles& files) { return read_results(files).accuracy; }

std::string results_complaint(const RunFiles& files) { return read_results(files).complaint; }

std::string last_error(const RunFiles& files) {
  std::istringstream file(read_input_or_empty(files.log, input_limit::log));
  std::string message;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("== ")) {  // of the runner: a start
      message.clear();
    } else if (line.starts_with("crisp-train: ")) {
      message = line.substr(13);
    } else if (!message.empty() && message.size() < 500) {
      message += "\n" + line;
    }
  }
  return message;
}

bool holds_files(const RunFiles& files) {
  std::error_code none;
  return fs::exists(files.directory, none) && !fs::is_empty(files.directory, none);
}

std::string differing_input(const RunFiles& run, const RunFiles& other) {
  const ordered_json of_run = read_json_object(run.directory + "/all_results.json"),
                     of_other = read_json_object(other.directory + "/all_results.json");
  const ordered_json &here = member(of_run, "settings"), &there = member(of_other, "settings");
  struct Input {
    const char *hash, *path, *what;
  };
  for (const Input& input :
       {Input{"training_data_sha256", "train", "training data"}, Input{"dev_data_sha256", "dev", "dev data"},
        Input{"initial_weights_sha256", "weights", "weights"}}) {
    const std::string a = text(here, input.hash), b = text(there, input.hash);
    if (!a.empty() && !b.empty() && a != b) return fmt::format("{} {}", input.what, text(here, input.path));
  }
  return "";
}

void delete_model(const RunFiles& files, bool checkpoints_too) {
  remove_file(files.directory + "/" + OutputDirectory::model_name);
  if (!checkpoints_too) return;
  for (const Checkpoint& checkpoint : list_checkpoints(files.directory))
    if (is_our_checkpoint(checkpoint.path)) remove_checkpoint(checkpoint.path);
}

}  // namespace crisp
