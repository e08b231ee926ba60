#include "train/study/run_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "data/input/file.h"
#include "data/input/json.h"
#include "engine/error.h"
#include "train/durable/checkpoint_store.h"
#include "train/durable/metrics.h"
#include "train/durable/output_directory.h"
#include "weights/atomic_file.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;
using Fields = JsonFields<ordered_json>;

constexpr std::array words{"missing", "begun", "interrupted", "failed", "diverged", "complete"};
static_assert(words.size() == static_cast<size_t>(RunStatus::complete) + 1);

const std::string results_name = "all_results.json";

// A damaged file tells nothing.
RunState parse_state(const ordered_json& object) try {
  const std::string where = "study_status.json";
  const Fields fields(object, where);
  RunState state;
  const std::string word = fields.text("status").value_or("");
  if (const auto found = std::find(words.begin(), words.end(), word); found != words.end())
    state.status = static_cast<RunStatus>(found - words.begin());
  state.exit_code = static_cast<int>(fields.whole("exit_code", INT32_MIN, INT32_MAX).value_or(0));
  state.message = fields.text("message").value_or("");
  state.seconds = fields.real("seconds", {.low = 0}).value_or(0);
  state.starts = fields.whole("starts", 0, INT64_MAX).value_or(0);
  state.own = fields.flag("own").value_or(false);
  return state;
} catch (const BadInput&) {
  return {};
}

}  // namespace

RunFiles run_files(const std::string& output, const std::string& arm, uint64_t seed) {
  const std::string directory = fmt::format("{}/runs/{}/seed-{}", output, arm, seed);
  return {directory, directory + ".log", directory + ".lock", directory + "/study_status.json",
          directory + "/" + results_name};
}

const char* status_name(RunStatus status) { return words[static_cast<size_t>(status)]; }

RunState read_state(const RunFiles& files) {
  RunState state = parse_state(read_json_object(files.status));
  if (state.status != RunStatus::complete) return state;
  if (const std::string complaint = read_accuracy(files).complaint; !complaint.empty()) {
    state.status = RunStatus::failed;
    state.message = complaint;
  }
  return state;
}

void write_state(const RunFiles& files, const RunState& state) {
  make_directories(files.directory);
  const ordered_json object{{"status", status_name(state.status)},
                            {"exit_code", state.exit_code},
                            {"message", state.message},
                            {"seconds", state.seconds},
                            {"starts", state.starts},
                            {"own", state.own}};
  // A message may quote what is no UTF-8.
  write_file_atomically(files.status, object.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

RunAccuracy read_accuracy(const ordered_json& results) {
  const Fields fields(results, results_name);
  if (!fields.has("settings"))  // what is written last
    return {.complaint = results_name + " is absent or damaged"};
  try {
    const int64_t total = fields.need("eval_total", fields.whole("eval_total", 1, INT64_MAX));
    return {.correct = fields.need("eval_correct", fields.whole("eval_correct", 0, total)), .total = total};
  } catch (const BadInput&) {
    const auto shown = [&](const char* key) { return fields.has(key) ? show_json(*fields.find(key)) : "null"; };
    return {.complaint = fmt::format("{} says {} of {} right (eval_correct, eval_total), which is no count",
                                     results_name, shown("eval_correct"), shown("eval_total"))};
  }
}

RunAccuracy read_accuracy(const RunFiles& files) { return read_accuracy(read_json_object(files.results)); }

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

std::string differing_input(const RunFiles& run, const RunFiles& other) try {
  const ordered_json of_run = read_json_object(run.results), of_other = read_json_object(other.results);
  const ordered_json *here = Fields(of_run, results_name).object("settings"),
                     *there = Fields(of_other, results_name).object("settings");
  if (!here || !there) return "";
  const Fields ours(*here, results_name), theirs(*there, results_name);
  struct Input {
    const char *hash, *path, *what;
  };
  for (const Input& input :
       {Input{"training_data_sha256", "train", "training data"}, Input{"dev_data_sha256", "dev", "dev data"},
        Input{"initial_weights_sha256", "weights", "weights"}}) {
    const std::optional<std::string> a = ours.text(input.hash), b = theirs.text(input.hash);
    if (a && b && *a != *b) return fmt::format("{} {}", input.what, ours.text(input.path).value_or(""));
  }
  return "";
} catch (const BadInput&) {  // damaged: nothing is known
  return "";
}

void delete_model(const RunFiles& files, bool checkpoints_too) {
  remove_file(files.directory + "/" + OutputDirectory::model_name);
  if (!checkpoints_too) return;
  for (const Checkpoint& checkpoint : list_checkpoints(files.directory))
    if (is_our_checkpoint(checkpoint.path)) remove_checkpoint(checkpoint.path);
}

}  // namespace crisp
