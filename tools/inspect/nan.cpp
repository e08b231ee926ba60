// crisp-inspect nan: replays a run's steps and names what is not finite first: operation, module, parameter, sentence.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "data/input/file.h"
#include "data/input/text.h"
#include "engine/adamw.h"
#include "engine/fail.h"
#include "tools/inspect/broken_step.h"
#include "tools/inspect/commands.h"
#include "tools/inspect/output.h"
#include "tools/nearest.h"
#include "tools/text_table.h"
#include "train/durable/console.h"
#include "train/inference/limits.h"
#include "train/run/progress.h"
#include "train/run/replay.h"

namespace crisp::inspect {
namespace {

using nlohmann::ordered_json;

constexpr int exit_found = 4;  // as of a run that is not finite

struct NanOptions {
  ReplayOptions replay;
  int64_t step = 0, steps = 0;  // 0: not given
  bool json = false;
};

// A tensor of the state itself that is not finite, before anything is run.
struct BrokenState {
  std::string name;
  BrokenElements elements;
};

std::optional<BrokenState> find_broken_state(Replay& replay) {
  Trainer& trainer = replay.trainer();
  const std::vector<Parameter>& parameters = trainer.model().parameters();
  const auto broken = [&](const std::string& name, const Tensor& t) -> std::optional<BrokenState> {
    if (all_finite(t, replay.context())) return {};
    return BrokenState{name, broken_elements(t.detach())};
  };
  for (const Parameter& p : parameters)
    if (auto found = broken(p.name, p.tensor)) return found;
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (auto found = broken("the first moment of " + parameters[i].name, trainer.optimizer().first_moments()[i]))
      return found;
    if (auto found = broken("the second moment of " + parameters[i].name, trainer.optimizer().second_moments()[i]))
      return found;
  }
  return {};
}

// --- what is said ----------------------------------------------------------------------------------------------------

std::string index_text(const BrokenElements& e) { return fmt::format("[{}]", fmt::join(e.first, ", ")); }

std::string number_text(double x) { return fmt::format("{}", x); }

std::string elements_text(const BrokenElements& e, const Tensor& t) {
  return fmt::format("{} is {}; {} of {} elements, in {} of {} row{}", index_text(e), number_text(e.value), e.count,
                     t.numel(), e.rows, t.rank() > 0 ? t.dim(0) : 1, t.rank() > 0 && t.dim(0) == 1 ? "" : "s");
}

ordered_json to_json(const BrokenElements& e) {
  return {{"index", e.first}, {"value", number_text(e.value)}, {"elements", e.count}, {"rows", e.rows}};
}

const char* direction(BrokenTensor::Kind kind) {
  switch (kind) {
    case BrokenTensor::Kind::parameter:
      return "before";
    case BrokenTensor::Kind::result:
      return "forward";
    case BrokenTensor::Kind::result_gradient:
    case BrokenTensor::Kind::parameter_gradient:
      return "backward";
    case BrokenTensor::Kind::sum:
      break;
  }
  return "sum";
}

// One fact a line.
void fact(const char* what, const std::string& text) { fmt::print("{:<14}{}\n", what, text); }

void print_broken_state(const Replay& replay, const BrokenState& state, bool json) {
  if (json) {
    const ordered_json document{{"command", "nan"},
                                {"from", replay.origin()},
                                {"found", "state"},
                                {"tensor", state.name},
                                {"broken", to_json(state.elements)}};
    print_json(document);
    return;
  }
  fmt::print("{}: {} is not finite already\n", printable(replay.origin()), printable(state.name));
  fact("element", fmt::format("{} is {}; {} of them", index_text(state.elements), number_text(state.elements.value),
                              state.elements.count));
  fmt::print("No step is needed to break it, and none mends it: go back to an earlier checkpoint.\n");
}

// What the operation was given: weights among it whose size tells more than the result's.
void print_inputs(const BrokenTensor& tensor) {
  if (tensor.inputs.empty()) return;
  TextTable table({{"computed from", TextTable::Kind::flexible}, {"shape", TextTable::Kind::text}, {"|x| up to"}});
  for (const Tensor& input : tensor.inputs)
    if (input.dtype() != DType::i32)
      table.row({input.label(), input.shape().str(), fmt::format("{:.3g}", largest_of(input))});
  fmt::print("\n{}", table.text());
}

std::string line_of(const Replay& replay, int32_t example) {
  const int32_t line = replay.example(example).line;
  return line > 0 ? fmt::format("{}", line) : fmt::format("#{}", example + 1);  // of a list
}

// Those that have a part in it; all, where none has.
void print_sentences(const Replay& replay, const BrokenStep& step) {
  const bool by_rows = std::any_of(step.sentences.begin(), step.sentences.end(),
                                   [](const SentenceInBatch& s) { return s.broken_rows > 0; });
  std::vector<TextTable::Column> columns{{"line"}, {"tokens"}};
  if (by_rows) columns.insert(columns.end(), {{"broken"}, {"first at", TextTable::Kind::text}});
  columns.insert(columns.end(), {{"alone", TextTable::Kind::text}, {"sentence", TextTable::Kind::flexible}});
  TextTable table(columns);
  int64_t others = 0;
  std::string whole;  // of the few that are shown cut
  constexpr int64_t few = 3, most_shown = 20;
  int64_t shown = 0;
  for (const SentenceInBatch& s : step.sentences) {
    if (s.broken_rows == 0 && !s.breaks_alone && (by_rows || step.alone > 0)) {
      ++others;
      continue;
    }
    if (++shown > most_shown) continue;
    const std::string &text = replay.example(s.example).text, line = line_of(replay, s.example);
    std::vector<std::string> row{line, fmt::format("{}", replay.data().ids(s.example).size())};
    if (by_rows) row.insert(row.end(), {fmt::format("{}", s.broken_rows), s.word});
    row.insert(row.end(), {s.breaks_alone ? "breaks" : "finite", quote(text)});
    table.row(std::move(row));
    if (s.breaks_alone && step.alone <= few) whole += fmt::format("line {}: {}\n", line, quote(text, 1000));
  }
  fmt::print("\nsentences of the batch{}\n{}\n{}",
             others > 0 ? fmt::format(", without {} that {} fine", others, others == 1 ? "is" : "are") : "",
             table.text(), whole);
  if (shown > most_shown) fmt::print("and {} more; --json has all\n", shown - most_shown);
}

void print_step(Replay& replay, const StepDiverged& divergence, const BrokenStep& step, bool json) {
  const BrokenTensor& tensor = divergence.first_broken();
  const int64_t in_step = replay.trainer().state().accumulated;
  if (json) {
    ordered_json document{{"command", "nan"},
                          {"from", replay.origin()},
                          {"found", "step"},
                          {"step", divergence.step()},
                          {"micro_step", divergence.micro_step() + 1},
                          {"cause", divergence.cause()},
                          {"direction", direction(tensor.kind)},
                          {"tensor", tensor.describe()},
                          {"operation", tensor.operation},
                          {"module", tensor.module},
                          {"name", tensor.name},
                          {"shape", ordered_json::array()},
                          {"broken", to_json(step.elements)},
                          {"inputs", ordered_json::array()},
                          {"verdict", step.verdict()},
                          {"sentences", ordered_json::array()}};
    for (const Tensor& input : tensor.inputs)
      if (input.dtype() != DType::i32)
        document["inputs"].push_back(
            {{"name", input.label()}, {"shape", input.shape().dims()}, {"largest", number_text(largest_of(input))}});
    if (tensor.values) document["shape"] = tensor.values.shape().dims();
    for (const SentenceInBatch& s : step.sentences)
      document["sentences"].push_back({{"place", replay.place(s.example)},
                                       {"text", replay.example(s.example).text},
                                       {"tokens", replay.data().ids(s.example).size()},
                                       {"broken_rows", s.broken_rows},
                                       {"word", s.word},
                                       {"breaks_alone", s.breaks_alone}});
    print_json(document);
    return;
  }
  fmt::print("{} at step {}{}, replayed from {}\n", divergence.cause(), divergence.step(),
             in_step > 1 ? fmt::format(" (its batch is number {} of all)", divergence.micro_step() + 1) : "",
             printable(replay.origin()));
  fact("broken first", printable(tensor.describe()));
  if (!tensor.operation.empty()) {
    fact("operation",
         fmt::format("{}, {}", tensor.operation,
                     tensor.kind == BrokenTensor::Kind::result ? "on the way forward" : "on the way back"));
    fact("module", printable(tensor.module));
  }
  if (tensor.values) {
    fact("tensor", fmt::format("{} {}", tensor.values.shape().str(), name_of(tensor.values.dtype())));
    fact("element", elements_text(step.elements, tensor.values));
  }
  fact("data", printable(replay.data_path()));
  print_inputs(tensor);
  print_sentences(replay, step);
  fmt::print("{}\n", step.verdict());
}

void print_nothing(Replay& replay, int64_t first, int64_t last, bool json) {
  if (json) {
    const ordered_json document{
        {"command", "nan"}, {"from", replay.origin()}, {"found", nullptr}, {"first_step", first}, {"last_step", last}};
    print_json(document);
  } else if (last < first) {
    fmt::print("nothing is left to replay: {} is of the last step, {}, and finite\n", printable(replay.origin()), last);
  } else {
    fmt::print("nothing breaks: steps {} to {}, replayed from {}, are finite\n", first, last,
               printable(replay.origin()));
  }
}

// --- the command -----------------------------------------------------------------------------------------------------

void refuse_missing(const std::string& run) {
  std::error_code unknown;
  if (std::filesystem::is_directory(run, unknown)) return;
  const std::filesystem::path path(run);
  const std::filesystem::path bare = path.has_filename() ? path : path.parent_path();
  const std::string folder = bare.has_parent_path() ? bare.parent_path().string() : ".";
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder, unknown))
    if (entry.is_directory(unknown)) names.push_back(entry.path().filename().string());
  fail<BadInput>("{}: there is no such directory{}", run, did_you_mean(bare.filename().string(), names));
}

int find_nan(NanOptions o) {
  refuse_missing(o.replay.run);
  if (o.step > 0 && o.steps > 0) fail<UsageError>("give either --step or --steps, not both");
  if (o.step > 0) o.replay.before_step = o.step;
  Replay replay(o.replay);
  for (const std::string& note : replay.notes()) say("note: {}", note);
  Trainer& trainer = replay.trainer();
  const int64_t before = trainer.state().step;
  if (o.step > trainer.total_steps())
    fail<UsageError>("--step {}: the run has {} steps", o.step, trainer.total_steps());
  if (const std::optional<BrokenState> broken = find_broken_state(replay)) {
    print_broken_state(replay, *broken, o.json);
    return exit_found;
  }
  const int64_t last = o.step > 0    ? o.step
                       : o.steps > 0 ? std::min(trainer.total_steps(), before + o.steps)
                                     : trainer.total_steps();
  Progress progress(/*logging_steps=*/0);
  try {
    StepReport report;
    while (trainer.state().step < last) {
      if (!trainer.micro_step(report)) continue;
      progress.update({.epoch = trainer.epoch(),
                       .epochs = trainer.epoch_at(last),
                       .step = trainer.state().step,
                       .total_steps = last,
                       .loss = report.loss});
    }
  } catch (const StepDiverged& divergence) {
    progress.finish();
    print_step(replay, divergence, examine(replay, divergence), o.json);
    return exit_found;
  }
  progress.finish();
  print_nothing(replay, before + 1, last, o.json);
  return 0;
}

}  // namespace

Command add_nan(CLI::App& program) {
  CLI::App* app = add_command(program, "nan", "Which step, tensor and sentence of a run is not finite first",
                              "Exit code 4: a step breaks, or the state is broken already; 0: nothing is.");
  const auto o = std::make_shared<NanOptions>();
  required(add_positional(*app, "RUN", o->replay.run,
                          "a directory that crisp-train wrote, or a checkpoint in it; stays as it is"));
  add_integer(*app, "step", o->step, 1, most_steps,
              "this step, from the newest checkpoint before it; default: from the newest of all, to the end");
  add_integer(*app, "steps", o->steps, 1, most_steps, "so many steps at most");
  add_text(*app, "data", o->replay.data, "where the training sentences are now", "FILE|DIR");
  add_text(*app, "parses", o->replay.parses, "where their parses are now", "FILE");
  add_text(*app, "weights", o->replay.weights, "where the weights are now that the run started from", "FILE|DIR");
  add_threads(*app, o->replay);
  add_device(*app, o->replay);
  add_flag(*app, "json", o->json, "print an object");
  return {app, [o] { return find_nan(*o); }};
}

}  // namespace crisp::inspect
