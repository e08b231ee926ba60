#include "train/run/checkpoint.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <span>

#include "data/input/file.h"
#include "data/input/json.h"
#include "data/input/text.h"
#include "engine/backend.h"
#include "engine/fail.h"
#include "model/sparsity_json.h"
#include "train/durable/sha256.h"
#include "train/inference/model_files.h"
#include "train/run/train_settings.h"
#include "weights/atomic_file.h"
#include "weights/safetensors.h"

namespace crisp {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* state_file = "/trainer_state.json";
constexpr const char* optimizer_file = "/optimizer.safetensors";
constexpr const char* gradient_prefix = "grad.";

// f(key, number, the least that it may be, the largest) for all of a TrainState.
template <class State, class F>
void for_each_number(State& s, F&& f) {
  // Counts are added to and numbered by: no run has more.
  constexpr int64_t most_micro_steps = UINT32_MAX, most_tokens = int64_t{1} << 62;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  f("step", s.step, 0, most_steps);
  f("micro_step", s.micro_step, 0, most_micro_steps);
  f("accumulated", s.accumulated, 0, most_micro_steps);
  f("loss_sum", s.loss_sum, -infinity, infinity);
  f("pending_loss", s.pending_loss, -infinity, infinity);
  f("loss_count", s.loss_count, 0, most_steps);
  f("total_loss_sum", s.total_loss_sum, -infinity, infinity);
  f("train_seconds", s.train_seconds, 0, infinity);
  f("train_tokens", s.train_tokens, 0, most_tokens);
  f("best_step", s.best_step, -1, most_steps);
  f("best_accuracy", s.best_accuracy, -1, infinity);
  f("evaluations_without_gain", s.evaluations_without_gain, 0, most_steps);
  f("last_evaluation", s.last_evaluation, -1, most_steps);
}

struct NumberReader {
  const JsonFields<json>& fields;
  void operator()(const char* key, int64_t& number, int64_t least, int64_t largest) const {
    number = fields.need(key, fields.whole(key, least, largest));
  }
  void operator()(const char* key, double& number, double least, double largest) const {
    number = fields.need(key, fields.real(key, {.low = least, .high = largest}));
  }
};

LogPositions read_logs(const JsonFields<json>& fields) {
  const auto bytes = [&](const char* key) {
    return static_cast<uint64_t>(fields.need(key, fields.whole(key, 0, INT64_MAX)));
  };
  const LogPositions logs{bytes("metrics_bytes"), fields.need("event_file", fields.text("event_file")),
                          bytes("event_bytes")};
  if (!logs.event_file.empty() && !is_bare_file_name(logs.event_file))
    fields.refuse("event_file", *fields.find("event_file"), "a file's name");
  return logs;
}

const json& needed_object(const JsonFields<json>& fields, const char* key) {
  const json* object = fields.object(key);
  if (!object) fields.refuse_missing(key);
  return *object;
}

std::vector<NamedTensor> optimizer_tensors(Trainer& trainer) {
  std::vector<NamedTensor> tensors;
  const std::vector<Parameter>& parameters = trainer.model().parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    tensors.push_back({"m." + p.name, trainer.optimizer().first_moments()[i]});
    tensors.push_back({"v." + p.name, trainer.optimizer().second_moments()[i]});
    if (p.is_span) tensors.push_back({p.name, p.tensor});  // which the model's file does not hold
  }
  return tensors;
}

// In the middle of an accumulation: of the parameters that have one. One of rows passes through a dense copy.
std::vector<NamedTensor> gradients(const std::vector<Parameter>& parameters) {
  std::vector<NamedTensor> tensors;
  for (const Parameter& p : parameters)
    if (const Tensor gradient = p.tensor.grad()) tensors.push_back({gradient_prefix + p.name, gradient});
  return tensors;
}

void restore_gradients(const std::string& path, const std::vector<Parameter>& parameters) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const Parameter& p : parameters) {
    p.tensor.clear_grad();
    const std::string name = gradient_prefix + p.name;
    if (!file.find(name)) continue;
    const Tensor gradient = Tensor::empty(p.tensor.shape(), p.tensor.dtype(), p.tensor.device());
    load_tensors(path, {{name, gradient}});
    p.tensor.set_grad(gradient);
  }
}

}  // namespace

std::string format_checkpoint_state(const CheckpointState& state) {
  ordered_json document;
  for_each_number(state.train, [&](const char* key, auto number, auto, auto) { document[key] = number; });
  const LogPositions& logs = state.logs;
  document["logs"] = {
      {"metrics_bytes", logs.metrics_bytes}, {"event_file", logs.event_file}, {"event_bytes", logs.event_bytes}};
  document["instruction_set"] = state.kernels;
  document["random_numbers"] = state.random_numbers;
  document["settings"] = ordered_json::parse(state.settings);
  // The event file's name holds the host's, which need not be UTF-8.
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + '\n';
}

CheckpointState parse_checkpoint_state(const std::string& text, const std::string& where) {
  const json document = parse_json(text, where);
  const JsonFields fields(document, where);
  CheckpointState state{.train = {},
                        .logs = read_logs(JsonFields(needed_object(fields, "logs"), where)),
                        .kernels = fields.text("instruction_set").value_or(""),
                        .settings = needed_object(fields, "settings").dump(),
                        .random_numbers = fields.whole("random_numbers", 1, INT64_MAX).value_or(1)};
  for_each_number(state.train, NumberReader{fields});
  return state;
}

std::string random_numbers_note(const CheckpointState& state, const DistilBertConfig& config) {
  const bool sparse = config.sparsity.applies_somewhere(true) || config.sparsity.key_dropout > 0;
  if (state.random_numbers == drawn_numbers || config.attention_dropout == 0 || !sparse) return "";
  return "the checkpoint is of another version of Crisp, which drew other numbers for the dropout of sparse attention";
}

std::string data_digest(const TokenizedDataset& data) {
  Sha256 hash;
  for (int32_t i = 0; i < data.size(); ++i) {
    const int32_t head[] = {data.label(i), static_cast<int32_t>(data.ids(i).size())};
    hash.update(std::as_bytes(std::span(head)));
    hash.update(std::as_bytes(data.ids(i)));
    if (!data.parsed()) continue;
    hash.update(std::as_bytes(data.tree_heads(i)));
    hash.update(std::as_bytes(data.tree_nodes(i)));
  }
  return hash.finish();
}

std::string run_fingerprint(const TrainOptions& o, const TokenizedDataset& data, const TokenizedDataset& dev,
                            const DistilBertConfig& config, const std::string& weights_sha256) {
  ordered_json j{{"initial_weights_sha256", weights_sha256.empty() ? ordered_json() : ordered_json(weights_sha256)},
                 {"vocab_size", config.vocab_size},
                 {"max_positions", config.max_positions},
                 {"dim", config.dim},
                 {"hidden_dim", config.hidden_dim},
                 {"layers", config.layers},
                 {"initializer_range", config.initializer_range},
                 {"layer_norm_eps", config.layer_norm_epsilon},
                 {"total_steps", total_steps_of(o, data.size())},
                 {"training_examples", data.size()},
                 {"training_tokens", data.total_tokens()},
                 {"training_data_sha256", data_digest(data)},
                 {"dev_data_sha256", data_digest(dev)},
                 {"label_names", config.label_names},
                 {"attention_heads", config.heads},
                 {"dropout", config.dropout},
                 {"attention_dropout", config.attention_dropout},
                 {"classifier_dropout", config.classifier_dropout}};
  j.update(settings_record(o, Recorded::fingerprint));
  ordered_json settings = sparsity_json(config.sparsity);
  for (const char* how_it_was_written : {"sparsity", "sparsity_reverse"}) settings.erase(how_it_was_written);
  j.update(settings);
  return j.dump();
}

void check_same_run(const std::string& saved_settings, const std::string& fingerprint, const std::string& where) {
  const json saved = json::parse(saved_settings, nullptr, false), now = json::parse(fingerprint);
  std::string differences;
  for (const auto& [key, value] : now.items()) {
    const json before = saved.is_object() && saved.contains(key) ? saved.at(key) : json();
    if (before == value) continue;
    // No option of that name.
    const char* from =
        key == "total_steps" ? " (by --epochs or --max-steps, the size of a step and that of the data)" : "";
    differences += fmt::format("\n  {}: {} then, {} now{}", key, show_json(before), show_json(value), from);
  }
  if (!differences.empty())
    fail<UsageError>(
        "{} belongs to a run with other settings:{}\nResume with the same settings, or start afresh with "
        "--overwrite or another --output",
        where, differences);
}

void write_checkpoint(const std::string& directory, Trainer& trainer, const TokenizerFiles& tokenizer, int max_length,
                      const LogPositions& logs, const std::string& fingerprint) {
  trainer.read_losses();
  save_model(directory, trainer.model(), tokenizer, max_length, Flush::by_caller);
  std::vector<NamedTensor> optimizer = optimizer_tensors(trainer);
  if (trainer.state().accumulated > 0)
    for (NamedTensor& t : gradients(trainer.model().parameters())) optimizer.push_back(std::move(t));
  save_tensors(directory + optimizer_file, optimizer, Flush::by_caller);
  const CheckpointState state{trainer.state(), logs,
                              kernels_in_use(trainer.context().products(), trainer.model().device()), fingerprint,
                              drawn_numbers};
  write_file_atomically(directory + state_file, format_checkpoint_state(state), Flush::by_caller);
}

CheckpointState read_checkpoint(const std::string& directory, Trainer& trainer, const std::string& fingerprint) {
  const std::string path = directory + state_file;
  CheckpointState state = parse_checkpoint_state(read_input(path, input_limit::state), path);
  check_same_run(state.settings, fingerprint, directory);
  trainer.settle();  // what it has done is not to be added to what is restored
  trainer.state() = state.train;
  // After model() nothing of it waits any more, so nothing overwrites what is loaded.
  load_tensors(directory + "/model.safetensors", weights_of(trainer.model()));
  load_tensors(directory + optimizer_file, optimizer_tensors(trainer));
  restore_gradients(directory + optimizer_file, trainer.model().parameters());
  trainer.restore_position();
  return state;
}

}  // namespace crisp
