#include "train/run/replay.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/input/file.h"
#include "data/input/json.h"
#include "data/input/text.h"
#include "engine/backend.h"
#include "engine/fail.h"
#include "model/sparsity_json.h"
#include "train/durable/checkpoint_manifest.h"
#include "train/durable/checkpoint_store.h"
#include "train/durable/output_directory.h"
#include "train/durable/run_marker.h"
#include "train/durable/sha256.h"
#include "train/run/checkpoint.h"
#include "train/run/run.h"
#include "train/run/train_settings.h"
#include "weights/locate.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// What a run has written down of itself, from the start or at its end; an empty object where nothing.
json settings_of_run(const std::string& run) {
  const std::string marker = run + "/" + OutputDirectory::marker_name, results = run + "/all_results.json";
  if (input_exists(marker)) {
    const RunMarker read = parse_run_marker(read_input(marker, input_limit::settings), marker);
    if (!read.settings.empty()) return json::parse(read.settings);
  }
  if (const auto read = try_json_object(read_input_or_empty(results, input_limit::state)))
    if (read->contains("settings") && read->at("settings").is_object()) return read->at("settings");
  return json::object();
}

bool is_there(const std::string& path) {
  std::error_code unknown;
  return fs::exists(path, unknown);
}

}  // namespace

TrainOptions options_from_settings(const json& settings, const std::string& where) {
  TrainOptions o = read_settings_record(settings, where);
  const JsonFields fields(settings, where);
  const auto whole = [&](const char* key, int64_t low, int64_t high) {
    return fields.need(key, fields.whole(key, low, high));
  };
  o.max_steps = whole("total_steps", 0, most_steps);
  // Older runs do not say how many of the examples they took.
  if (!fields.contains("selection_part")) o.max_train_samples = whole("training_examples", 1, INT32_MAX);
  return o;
}

Replay::Replay(const ReplayOptions& options) {
  find_state(options);
  const json settings = json::parse(settings_);
  options_ = options_from_settings(settings, origin_);
  started_in_ = JsonFields(settings, origin_).text("started_in").value_or("");
  const Device device = device_for(options.device);
  context_.emplace(Context::Settings{.threads = static_cast<int>(options.threads),
                                     .products = products_for(options_.precision, device)});
  find_files(options);
  read_sentences();
  options_.device = options.device;
  load();
}

void Replay::find_state(const ReplayOptions& options) {
  const bool is_checkpoint = input_exists(options.run + "/trainer_state.json");
  const fs::path given = fs::path(options.run).lexically_normal();
  run_ = options.run;
  std::vector<Checkpoint> candidates;
  if (is_checkpoint) {
    const fs::path bare = given.has_filename() ? given : given.parent_path();
    run_ = bare.has_parent_path() ? bare.parent_path().string() : bare == "." ? ".." : ".";
    const std::optional<Manifest> manifest = read_manifest(options.run);
    candidates.push_back({options.run, manifest ? manifest->step : 0});
  } else {
    candidates = list_checkpoints(options.run);
  }
  for (auto c = candidates.rbegin(); c != candidates.rend() && checkpoint_.empty(); ++c) {
    if (!is_checkpoint && c->step >= options.before_step) continue;
    const std::string damage = checkpoint_damage(*c);
    if (damage.empty()) checkpoint_ = c->path;
    if (!damage.empty() && is_checkpoint) fail<BadInput>("{}: damaged: {}", c->path, damage);
    if (!damage.empty()) notes_.push_back(fmt::format("passing over a damaged checkpoint: {}: {}", c->path, damage));
  }
  json settings = settings_of_run(run_);
  origin_ = checkpoint_;
  if (!checkpoint_.empty()) {
    const std::string path = checkpoint_ + "/trainer_state.json";
    const CheckpointState state = parse_checkpoint_state(read_input(path, input_limit::state), path);
    if (state.train.step >= options.before_step)
      fail<UsageError>("{} is of step {}, and a step before step {} is wanted", checkpoint_, state.train.step,
                       options.before_step);
    settings.update(json::parse(state.settings));
  } else if (settings.empty()) {
    fail<BadInput>(
        "{}: holds no checkpoint{}, and no record of what its run was asked for", options.run,
        candidates.empty() ? "" : fmt::format(" that can be used (there is one of step {})", candidates[0].step));
  } else {
    origin_ = run_;
  }
  settings_ = settings.dump();
  if (is_there(run_ + "/" + OutputDirectory::new_run_name))
    notes_.push_back(fmt::format("a run that is to replace this one has no model yet; it is in {}/{}", run_,
                                 OutputDirectory::new_run_name));
}

// Paths as the run had them, by where it was started.
void Replay::find_files(const ReplayOptions& options) {
  const auto resolved = [&](const std::string& path) {
    if (path.empty() || fs::path(path).is_absolute() || started_in_.empty()) return path;
    return (fs::path(started_in_) / path).lexically_normal().string();
  };
  const auto place = [&](std::string& path, const std::string& now, const char* what, const char* option) {
    const std::string before = resolved(path);
    path = now.empty() ? before : now;
    if (path.empty()) fail<UsageError>("{} does not say where its {} are; give {} FILE", origin_, what, option);
    if (now.empty() && !is_there(path))
      fail<UsageError>("{}: the run's {} are not there any more; give {} FILE", path, what, option);
  };
  std::error_code unknown;
  DatasetFiles folder;
  if (!options.data.empty() && fs::is_directory(options.data, unknown)) {
    folder = find_dataset(options.data);
    if (folder.train.empty()) fail<UsageError>("{} has no train.tsv; give --data FILE", options.data);
  }
  place(options_.train, folder.train.empty() ? options.data : folder.train, "training sentences", "--data");
  const SparsityConfig sparsity = [&] {
    json object = json::parse(settings_);
    const JsonFields fields(object, origin_);
    return parse_sparsity_json(object, fields.need("layers", fields.whole("layers", 1, INT32_MAX)),
                               fields.need("attention_heads", fields.whole("attention_heads", 1, INT32_MAX)), origin_);
  }();
  if (sparsity.needs_parses(true)) {
    place(options_.parses, options.parses.empty() ? folder.train_parses : options.parses, "parses", "--parses");
  } else {
    options_.parses.clear();
  }
  if (!checkpoint_.empty()) {
    options_.weights = checkpoint_;
    options_.init = options_.vocab = "";
    return;
  }
  options_.vocab = resolved(options_.vocab);
  if (!is_there(options_.vocab)) options_.vocab.clear();  // beside the weights, wherever they are
  if (options_.init.empty()) {
    place(options_.weights, options.weights, "weights", "--weights");
  } else if (options_.init != "distilbert-base") {
    options_.init = resolved(options_.init);
  }
}

void Replay::read_sentences() {
  sentences_ = read_dataset(
      options_.train,
      {.label_names = options_.label_names, .label_names_from = "the run", .label_names_are_optional = true});
  split_ = split_training(options_, static_cast<int32_t>(sentences_.examples.size())).trained_on;
}

void Replay::load() {
  const json settings = json::parse(settings_);
  const JsonFields fields(settings, origin_);
  const bool from_start = checkpoint_.empty();
  const LoadModelOptions how{.vocab = options_.vocab,
                             .dtype = dtype_for(options_.precision),
                             .device = device_for(options_.device),
                             .num_labels = from_start ? std::max(sentences_.num_labels, 2) : 0,
                             .label_names = from_start ? options_.label_names : std::vector<std::string>(),
                             .seed = options_.seed,
                             .new_head = from_start && options_.new_head,
                             .to_train = true};
  loaded_.emplace(options_.init.empty() ? load_model(options_.weights, how) : new_model(options_.init, how));
  if (from_start) {
    const std::string expected = fields.text("initial_weights_sha256").value_or("");
    if (!expected.empty() && sha256_file(locate_weights(options_.weights)) != expected)
      fail<BadInput>("{}: these are not the weights that the run started from; give --weights FILE", options_.weights);
    DistilBertConfig& config = loaded_->model.mutable_config();
    const auto rate = [&](const char* key) { return fields.need(key, fields.real(key, dropout_range)); };
    config.dropout = rate("dropout");
    config.attention_dropout = rate("attention_dropout");
    config.classifier_dropout = rate("classifier_dropout");
    loaded_->model.set_sparsity(parse_sparsity_json(settings, config.layers, config.heads, origin_));
    origin_ = options_.init.empty() ? options_.weights : "--init " + options_.init;
  }
  tokenizer_.emplace(load_tokenizer(*loaded_, options_.max_length));
  const TokenizedDataset all(sentences_, *tokenizer_, static_cast<int>(options_.max_length), options_.parses,
                             context_->threads());
  data_.emplace(all.subset(split_));
  if (data_digest(*data_) != fields.need("training_data_sha256", fields.text("training_data_sha256")))
    fail<BadInput>(
        "{}: these are not the sentences that the run was trained on: their tokens and labels have another hash; give "
        "--data FILE",
        options_.train);
  trainer_.emplace(loaded_->model, *data_, options_.trainer(), *context_);
  if (from_start) return;
  const std::string path = checkpoint_ + "/trainer_state.json";
  const std::string of_checkpoint = parse_checkpoint_state(read_input(path, input_limit::state), path).settings;
  const CheckpointState state = read_checkpoint(checkpoint_, *trainer_, of_checkpoint);
  const std::string now = kernels_in_use(context_->products(), loaded_->model.device());
  if (state.kernels != now)
    notes_.push_back(fmt::format("the run had {} kernels, here are {} ones: the last bits may differ from its",
                                 state.kernels.empty() ? "other" : state.kernels, now));
  if (const std::string note = random_numbers_note(state, loaded_->model.config()); !note.empty())
    notes_.push_back(note + ": what is repeated may differ from what the run did");
}

}  // namespace crisp
