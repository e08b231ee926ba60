#include "train/checkpoint_state.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "data/input/json.h"
#include "data/input/text.h"
#include "train/options.h"

namespace crisp {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using Fields = JsonFields<json>;

ordered_json state_json(const TrainState& s) {
  return {{"step", s.step},
          {"micro_step", s.micro_step},
          {"accumulated", s.accumulated},
          {"loss_sum", s.loss_sum},
          {"pending_loss", s.pending_loss},
          {"loss_count", s.loss_count},
          {"total_loss_sum", s.total_loss_sum},
          {"train_seconds", s.train_seconds},
          {"train_tokens", s.train_tokens},
          {"best_step", s.best_step},
          {"best_accuracy", s.best_accuracy},
          {"evaluations_without_gain", s.evaluations_without_gain},
          {"last_evaluation", s.last_evaluation}};
}

TrainState state_from(const Fields& fields) {
  // Counts are added to and numbered by: no run has more.
  constexpr int64_t most_micro_steps = UINT32_MAX, most_tokens = int64_t{1} << 62;
  const auto count = [&](const char* key, int64_t low = 0, int64_t high = most_steps) {
    return fields.need(key, fields.whole(key, low, high));
  };
  const auto real = [&](const char* key, double low = -std::numeric_limits<double>::infinity()) {
    return fields.need(key, fields.real(key, {.low = low}));
  };
  TrainState s;
  s.step = count("step");
  s.micro_step = count("micro_step", 0, most_micro_steps);
  s.accumulated = count("accumulated", 0, most_micro_steps);
  s.loss_sum = real("loss_sum");
  s.pending_loss = real("pending_loss");
  s.loss_count = count("loss_count");
  s.total_loss_sum = real("total_loss_sum");
  s.train_seconds = real("train_seconds", 0);
  s.train_tokens = count("train_tokens", 0, most_tokens);
  s.best_step = count("best_step", -1);
  s.best_accuracy = real("best_accuracy", -1);
  s.evaluations_without_gain = count("evaluations_without_gain");
  s.last_evaluation = count("last_evaluation", -1);
  return s;
}

const json& needed_object(const Fields& fields, const char* key) {
  const json* object = fields.object(key);
  if (!object) fields.refuse_missing(key);
  return *object;
}

LogPositions logs_from(const Fields& fields) {
  const auto bytes = [&](const char* key) {
    return static_cast<uint64_t>(fields.need(key, fields.whole(key, 0, INT64_MAX)));
  };
  const LogPositions logs{bytes("metrics_bytes"), fields.need("event_file", fields.text("event_file")),
                          bytes("event_bytes")};
  if (!logs.event_file.empty() && !is_bare_file_name(logs.event_file))
    fields.refuse("event_file", *fields.find("event_file"), "a file's name");
  return logs;
}

}  // namespace

std::string format_checkpoint_state(const CheckpointState& state) {
  ordered_json document = state_json(state.train);
  const LogPositions& logs = state.logs;
  document["logs"] = {
      {"metrics_bytes", logs.metrics_bytes}, {"event_file", logs.event_file}, {"event_bytes", logs.event_bytes}};
  document["instruction_set"] = state.kernels;
  document["settings"] = ordered_json::parse(state.settings);
  // The event file's name holds the host's, which need not be UTF-8.
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + '\n';
}

CheckpointState parse_checkpoint_state(const std::string& text, const std::string& where) {
  const json document = parse_json(text, where);
  const Fields fields(document, where);
  return {.train = state_from(fields),
          .logs = logs_from(Fields(needed_object(fields, "logs"), where)),
          .kernels = fields.text("instruction_set").value_or(""),
          .settings = needed_object(fields, "settings").dump()};
}

}  // namespace crisp
