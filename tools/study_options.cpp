#include "tools/study_options.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "data/dataset.h"
#include "engine/error.h"
#include "weights/locate.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;

// What is the study's own affair, or crisp-study's command line's.
constexpr std::array<std::string_view, 7> reserved{"seed",   "output",  "resume", "overwrite",
                                                   "config", "threads", "help"};

std::string first_name(const CLI::Option& option) { return option.get_name(false, false).substr(2); }

// A study may go on from another folder. The last link stays as it is: what a weights' file has beside it is looked for
// beside the name that the user gave.
std::string absolute(const std::string& path) {
  std::error_code ignored;
  fs::path whole = fs::absolute(path).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();  // "dir/"
  return (fs::weakly_canonical(whole.parent_path(), ignored) / whole.filename()).string();
}

std::string with_absolute_path(const CLI::Option& option, const std::string& value) {
  const std::string type = option.get_type_name();  // "FILE|DIR", or "distilbert-base|FILE", which may be no path
  std::error_code ignored;
  if (type.find("FILE") == std::string::npos && type.find("DIR") == std::string::npos) return value;
  const bool word_too = std::any_of(type.begin(), type.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  return value.empty() || (word_too && !fs::exists(value, ignored)) ? value : absolute(value);
}

// --sparsity-scope is an older name of two values of --sparse-method.
void take_newer_name(std::string& name, std::string& value) {
  if (name != "sparsity-scope" || (value != "row" && value != "head")) return;  // the parser says what is wrong
  name = "sparse-method";
  value = value == "row" ? "top-k" : "percentile";
}

OptionMap with_first_names(const CLI::App& app, const OptionMap& options, const std::string& where) {
  OptionMap named;
  for (const auto& [name, value] : options) {
    const CLI::Option* option = app.get_option_no_throw("--" + name);
    std::string first = option == nullptr ? name : first_name(*option);  // the parser says what is wrong
    if (std::find(reserved.begin(), reserved.end(), first) != reserved.end())
      fail<BadInput>("{}: --{} is not for a study's file to say; {}", where, first,
                     first == "seed" ? "\"seeds\" is" : "crisp-study's command line decides");
    std::string word = option == nullptr ? value : with_absolute_path(*option, value);
    take_newer_name(first, word);
    if (!named.emplace(first, word).second) fail<BadInput>("{}: --{} is there under two names", where, first);
  }
  return named;
}

TrainOptions parse(const OptionMap& options, const std::string& where) {
  TrainOptions parsed;
  CLI::App app("", "crisp-train");
  add_train_options(app, parsed);
  std::vector<std::string> words;  // CLI11 takes them from the end
  for (const auto& [name, value] : options) words.insert(words.begin(), fmt::format("--{}={}", name, value));
  try {
    app.parse(words);
  } catch (const CLI::ParseError& error) {
    fail<BadInput>("{}: {}", where, explain_parse_error(app, error));
  }
  try {
    check_sparsity_options(parsed.sparse);
  } catch (const UsageError& error) {
    fail<BadInput>("{}: {}", where, error.what());
  }
  return parsed;
}

}  // namespace

void check_study_options(Study& study, const std::string& where) {
  TrainOptions ignored;
  CLI::App app("", "crisp-train");
  add_train_options(app, ignored);
  study.options = with_first_names(app, study.options, where);
  for (Study::Arm& arm : study.arms) {
    const std::string here = fmt::format("{}: arm '{}'", where, arm.name);
    arm.options = with_first_names(app, arm.options, here);
    parse(study.options_of(arm), here);
  }
}

void choose_evaluations(Study& study) {
  const auto word = [](const OptionMap& options) {
    const auto part = options.find("selection-part");
    return part != options.end() && std::strtod(part->second.c_str(), nullptr) > 0 ? "best" : "last";
  };
  if (study.options.contains("select")) return;
  study.options["select"] = word(study.options);
  for (Study::Arm& arm : study.arms)
    if (word(study.options_of(arm)) != study.options["select"])
      arm.options.emplace("select", word(study.options_of(arm)));
}

bool check_study_inputs(const Study& study) {
  bool samples = false;
  for (const Study::Arm& arm : study.arms) {
    const TrainOptions o = parse(study.options_of(arm), arm.name);
    const bool sample = o.weights.empty() && o.init.empty() && o.data.empty() && o.train.empty();
    samples = samples || sample;
    if (o.weights.empty() && o.init.empty() && !sample)
      fail<UsageError>("no weights for the arm {}: give --weights FILE|DIR, or --init", arm.name);
    if (!sample && o.data.empty() && (o.train.empty() || o.dev.empty()))
      fail<UsageError>("no data for the arm {}: give --data DIR, or --train FILE and --dev FILE", arm.name);
    if (!o.weights.empty()) locate_weights(o.weights);
    if (!o.data.empty()) find_dataset(o.data);
  }
  return samples;
}

OptionMap given_train_options(const CLI::App& app, const std::vector<std::string>& others) {
  OptionMap options;
  for (const CLI::Option* option : app.get_options()) {
    if (option->count() == 0 || option->get_lnames().empty()) continue;
    std::string name = first_name(*option), value = option->results().back();
    take_newer_name(name, value);
    if (std::find(others.begin(), others.end(), name) == others.end()) options[name] = value;
  }
  return options;
}

}  // namespace crisp
