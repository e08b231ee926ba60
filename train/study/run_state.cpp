#include "train/study/run_state.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/error.h"
#include "train/checkpoint_store.h"
#include "train/metrics.h"
#include "train/output_directory.h"
#include "weights/atomic_file.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;
using Status = RunState::Status;

constexpr std::array<std::pair<Status, const char*>, 6> words{{{Status::none, "missing"},
                                                               {Status::begun, "begun"},
                                                               {Status::interrupted, "interrupted"},
                                                               {Status::failed, "failed"},
                                                               {Status::diverged, "diverged"},
                                                               {Status::complete, "complete"}}};

template <class T>
T value_or(const ordered_json& object, const char* key, T otherwise) {
  try {
    return object.value(key, otherwise);
  } catch (const ordered_json::exception&) {  // of another type
    return otherwise;
  }
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
  const std::string word = value_or(object, "status", std::string());
  for (const auto& [value, name] : words)
    if (word == name) state.status = value;
  state.exit_code = value_or(object, "exit_code", 0);
  state.message = value_or(object, "message", std::string());
  state.seconds = value_or(object, "seconds", 0.0);
  state.starts = value_or(object, "starts", int64_t{0});
  state.own = value_or(object, "own", false);
  return state;
}

void write_state(const RunFiles& files, const RunState& state) {
  std::error_code error;
  fs::create_directories(files.directory, error);
  if (error) fail("{}: cannot be created: {}", files.directory, error.message());
  const ordered_json object{{"status", status_word(state.status)},
                            {"exit_code", state.exit_code},
                            {"message", state.message},
                            {"seconds", state.seconds},
                            {"starts", state.starts},
                            {"own", state.own}};
  // A message may quote what is no UTF-8.
  write_file_atomically(files.status, object.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

RunAccuracy read_accuracy(const RunFiles& files) {
  const ordered_json results = read_json_object(files.directory + "/all_results.json");
  if (!results.contains("settings")) return {};  // what is written last
  return {value_or(results, "eval_correct", int64_t{0}), value_or(results, "eval_total", int64_t{0})};
}

std::string last_error(const RunFiles& files) {
  std::ifstream file(files.log);
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
  const auto settings = [](const RunFiles& files) {
    return value_or(read_json_object(files.directory + "/all_results.json"), "settings", ordered_json::object());
  };
  const ordered_json here = settings(run), there = settings(other);
  struct Input {
    const char *hash, *path, *what;
  };
  for (const Input& input :
       {Input{"training_data_sha256", "train", "training data"}, Input{"dev_data_sha256", "dev", "dev data"},
        Input{"initial_weights_sha256", "weights", "weights"}}) {
    const std::string a = value_or(here, input.hash, std::string()), b = value_or(there, input.hash, std::string());
    if (!a.empty() && !b.empty() && a != b)
      return fmt::format("{} {}", input.what, value_or(here, input.path, std::string()));
  }
  return "";
}

void delete_model(const RunFiles& files, bool checkpoints_too) {
  std::error_code error;
  fs::remove(files.directory + "/" + OutputDirectory::model_name, error);
  if (error) fail("{}: its model cannot be removed: {}", files.directory, error.message());
  if (!checkpoints_too) return;
  for (const Checkpoint& checkpoint : list_checkpoints(files.directory))
    if (is_our_checkpoint(checkpoint.path)) remove_checkpoint(checkpoint.path);
}

}  // namespace crisp
