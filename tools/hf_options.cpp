#include "tools/hf_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>

#include "data/input/parse_text.h"
#include "train/durable/checkpoint_store.h"
#include "train/run/train_options.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// The value as the table has it.
std::string plain_value(const HfOption& option, const Argument& argument) {
  if (option.kind != ArgumentKind::flag) return lower_case(argument.value.value_or(""));
  const bool negated = option.name != argument.name;  // --no_NAME
  const bool on = truth_of(argument.value.value_or("true")).value_or(true);
  return on != negated ? "true" : "false";
}

bool is_fine(const HfOption& option, const std::string& value) {
  if (option.kind != ArgumentKind::flag && (value.empty() || value == "none")) return true;
  const std::vector<std::string> fine = split(option.fine, '|');
  return std::find(fine.begin(), fine.end(), value) != fine.end();
}

[[noreturn]] void refuse(const Argument& argument, std::string_view what_to_do) {
  throw CLI::ValidationError(argument.spelling + (argument.value ? " " + *argument.value : ""),
                             std::string(what_to_do));
}

class Translation {
 public:
  Translation(const CLI::App& app, const std::vector<Argument>& arguments) : app_(app) {
    for (const Argument& argument : arguments)
      if (const HfOption* option = find_hf_option(argument.name)) theirs_[std::string(option->name)] = &argument;
    for (const Argument& argument : arguments) {
      const HfOption* option = find_hf_option(argument.name);
      if (option == nullptr) {
        ours_.push_back(argument);
      } else if (theirs_.at(std::string(option->name)) == &argument) {  // of several the last counts
        translate(*option, argument);
      }
    }
    require_training();
    require_data();
    require_own_files();
    choose_warmup();
    choose_evaluations();
    choose_checkpoints();
    choose_resumption();
    explain_best_model();
    refuse_shares();
  }

  OwnArguments result() && {
    std::vector<std::string> parts;
    for (const auto& [why, spellings] : notes_)
      parts.push_back(fmt::format("{} ({})", fmt::join(spellings, ", "), why));
    return {std::move(ours_), parts.empty() ? "" : fmt::format("without effect here: {}", fmt::join(parts, "; "))};
  }

 private:
  void note(const Argument& argument, std::string_view why) {
    const auto same = std::find_if(notes_.begin(), notes_.end(), [&](const auto& n) { return n.first == why; });
    auto& spellings = same != notes_.end() ? same->second : notes_.emplace_back(why, 0).second;
    spellings.push_back(argument.spelling);
  }

  // An option of ours as this one says it.
  void take(const Argument& argument, const std::string& name, const std::string& value) {
    ours_.push_back({argument.spelling, name, value});
  }

  bool is(const Argument& argument, const std::string& name) const {
    const CLI::Option* option = find_option(app_, argument.name);
    return option != nullptr && option == find_option(app_, name);
  }

  // The last of our option `name`; nullptr where it is not given.
  const Argument* own(const std::string& name) const {
    for (auto it = ours_.rbegin(); it != ours_.rend(); ++it)
      if (is(*it, name)) return &*it;
    return nullptr;
  }
  std::string own_value(const std::string& name, const std::string& otherwise = "") const {
    const Argument* argument = own(name);
    return argument != nullptr ? argument->value.value_or("") : otherwise;
  }
  // Takes our option `name` out, with a note where it asked for something.
  void drop(const std::string& name, std::string_view why) {
    if (const Argument* argument = own(name); argument && parse_number<double>(argument->value.value_or("")) != 0.0)
      note(*argument, why);
    std::erase_if(ours_, [&](const Argument& argument) { return is(argument, name); });
  }

  const Argument* theirs(const std::string& name) const {
    const auto found = theirs_.find(name);
    return found == theirs_.end() ? nullptr : found->second;
  }
  // "" where it is not given.
  std::string value_of(const std::string& name) const {
    const Argument* argument = theirs(name);
    return argument ? plain_value(*find_hf_option(name), *argument) : "";
  }

  void translate(const HfOption& option, const Argument& argument) {
    const std::string value = plain_value(option, argument);
    switch (option.outcome) {
      case HfOutcome::ignored:
        if (!is_fine(option, value)) note(argument, option.text);
        break;
      case HfOutcome::refused:
        if (!is_fine(option, value)) refuse(argument, option.text);
        break;
      case HfOutcome::mapped:
        map(option, argument, value);
        break;
    }
  }

  // What needs no other option to be understood.
  void map(const HfOption& option, const Argument& argument, const std::string& value) {
    const std::string_view name = option.name;
    const auto number = parse_number<double>(value);
    if (name == "bf16") {
      if (value == "true") take(argument, "precision", "bf16");
    } else if (name == "use-cpu" || name == "no-cuda") {
      if (value == "true") take(argument, "device", "cpu");
    } else if (name == "load-best-model-at-end") {
      take(argument, "select", value == "true" ? "best" : "last");
    } else if (name == "max-steps") {
      if (!number || *number >= 0) ours_.push_back(argument);
    } else if (name == "warmup-steps") {  // transformers 5: below 1 it is a part of all steps
      if (number && *number > 0 && *number < 1)
        take(argument, "warmup-ratio", value);
      else if (number && std::abs(*number) < 1e15 && *number == std::trunc(*number))
        take(argument, "warmup-steps", fmt::format("{}", static_cast<int64_t>(*number)));  // "100.0"
      else
        ours_.push_back(argument);
    } else if (name == "lr-scheduler-type") {
      ours_.push_back(argument);
    } else if (name == "metric-for-best-model") {
      if (!is_fine(option, value)) refuse(argument, option.text);
    } else if (name == "do-eval") {
      if (!is_fine(option, value)) note(argument, option.text);
    }
  }

  void require_training() const {
    const bool without = theirs("do-train") == nullptr && value_of("do-eval") == "true";
    if (value_of("do-train") == "false" || without)
      refuse(*theirs(without ? "do-eval" : "do-train"),
             "crisp-train always trains (--do_train); crisp-predict --model DIR --metrics FILE evaluates a model");
  }

  void require_data() const {
    const Argument* task = theirs("task-name");
    if (task == nullptr) return;
    const bool sst2 = value_of("task-name") == "sst2" || value_of("task-name") == "sst-2";
    const bool data = own("data") != nullptr || own("train") != nullptr;
    if (!sst2 && !data) refuse(*task, find_hf_option("task-name")->text);
    if (!sst2) refuse(*task, "only SST-2's task is known: single sentences, measured by accuracy; leave it out");
    if (!data) refuse(*task, find_hf_option("task-name")->text);
  }

  // Another name of the model is no other file.
  void require_own_files() const {
    for (const char* name : {"config-name", "tokenizer-name"}) {
      const Argument* argument = theirs(name);
      if (argument && !value_of(name).empty() && argument->value != own_value("weights"))
        refuse(*argument, find_hf_option(name)->text);
    }
  }

  // Their "constant" has no warmup, ours has.
  void choose_warmup() {
    const Argument* type = theirs("lr-scheduler-type");
    if (type == nullptr || value_of("lr-scheduler-type") != "constant") return;
    for (const char* name : {"warmup-ratio", "warmup-steps"})
      drop(name, "--lr_scheduler_type constant has no warmup; constant_with_warmup has one");
    take(*type, "warmup-ratio", "0");
  }

  // A path is that of the output directory or of its newest checkpoint: there is no going on from another.
  void choose_resumption() {
    const Argument* argument = theirs("resume-from-checkpoint");
    if (argument == nullptr) return;
    const std::string path = argument->value.value_or("true");
    if (const std::optional<bool> truth = truth_of(path);
        truth || is_fine(*find_hf_option(argument->name), lower_case(path))) {
      take(*argument, "resume", truth.value_or(false) ? "true" : "false");
      return;
    }
    const std::string output = own_value("output", find_option(app_, "output")->get_default_str());
    std::error_code ignored;
    const std::vector<Checkpoint> there =
        fs::is_directory(output, ignored) ? list_checkpoints(output) : std::vector<Checkpoint>{};
    const bool newest = !there.empty() && fs::equivalent(path, there.back().path, ignored);
    if (!newest && !fs::equivalent(path, output, ignored))
      refuse(*argument, fmt::format("a run goes on from the newest checkpoint of its --output, {}: give True, and "
                                    "the --output that it had",
                                    there.empty() ? output + ", which has none" : there.back().path));
    take(*argument, "resume", "true");
  }

  static std::string strategy(const Argument& argument, const std::string& value, const std::string& words) {
    const std::vector<std::string> known = split(words, '|');
    if (std::find(known.begin(), known.end(), value) == known.end())
      throw CLI::ValidationError(argument.spelling, fmt::format("must be one of {}, not '{}'", words, value));
    return value;
  }

  void choose_evaluations() {
    const char* name = theirs("eval-strategy") ? "eval-strategy" : "evaluation-strategy";
    const Argument* argument = theirs(name);
    if (argument == nullptr) return;
    const std::string when = strategy(*argument, value_of(name), "no|steps|epoch");
    if (when == "steps") {
      if (own("eval-steps") == nullptr) take(*argument, "eval-steps", own_value("logging-steps", "500"));
      return;
    }
    drop("eval-steps", when == "no" ? "one evaluation after the last step" : "an evaluation after each epoch");
    if (when == "epoch") return;
    take(*argument, "eval-steps", fmt::format("{}", most_steps));
    if (own("save-steps") == nullptr && theirs("save-strategy") == nullptr) take(*argument, "save-steps", "500");
  }

  void choose_checkpoints() {
    const Argument* argument = theirs("save-strategy");
    if (argument == nullptr) return;
    const std::string when = strategy(*argument, value_of("save-strategy"), "no|steps|epoch|best");
    if (when == "steps") {
      if (own("save-steps") == nullptr) take(*argument, "save-steps", "500");
      return;
    }
    drop("save-steps", "a checkpoint at each evaluation");
    if (when == "no") take(*argument, "keep-checkpoints", "off");
    if (when == "epoch" && own("eval-steps") != nullptr) note(*argument, "a checkpoint at each evaluation");
  }

  void explain_best_model() {
    const Argument* argument = theirs("load-best-model-at-end");
    if (argument && value_of("load-best-model-at-end") == "true" && theirs("metric-for-best-model") == nullptr)
      note(*argument, "the best is chosen by accuracy, not by loss");
  }

  // Numbers of steps below 1 are parts of all steps there.
  void refuse_shares() const {
    for (const char* name : {"eval-steps", "save-steps", "logging-steps"}) {
      const std::optional<double> steps = parse_number<double>(own_value(name));
      if (steps && *steps > 0 && *steps < 1)
        refuse(*own(name), "a part of all steps is not known here; give a number of steps");
    }
  }

  const CLI::App& app_;
  std::map<std::string, const Argument*> theirs_;  // the last of each name
  std::vector<Argument> ours_;
  std::vector<std::pair<std::string_view, std::vector<std::string>>> notes_;  // reason, options
};

}  // namespace

bool understands_hf_options(const CLI::App& app) { return find_option(app, "config") != nullptr; }

OwnArguments translate_hf_options(const CLI::App& app, const std::vector<Argument>& arguments) {
  if (!understands_hf_options(app)) return {arguments, ""};
  return Translation(app, arguments).result();
}

}  // namespace crisp
