#include "tools/study_options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <string_view>

#include "data/input/text.h"
#include "engine/fail.h"
#include "tools/arguments.h"
#include "tools/hf_options.h"
#include "train/inference/model_files.h"
#include "train/run/run.h"
#include "weights/hub_cache.h"

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
  const bool word_too = std::any_of(type.begin(), type.end(), [](char c) { return c >= 'a' && c <= 'z'; }) ||
                        (type.find("NAME") != std::string::npos && may_be_hub_name(value));
  return value.empty() || (word_too && !fs::exists(value, ignored)) ? value : absolute(value);
}

// --sparsity-scope is an older name of two values of --sparse-method.
void take_newer_name(std::string& name, std::string& value) {
  for (const auto& [older, method] : scope_words()) {
    if (name != "sparsity-scope" || value != older) continue;
    name = "sparse-method";
    value = method_name(method);
  }
}

// An option of Hugging Face's is no setting of a study: says which of ours does it, if one does that a study takes, and
// that one's values.
void refuse_hf_option(const CLI::App& app, const std::string& name, const std::string& where) {
  std::string with_dashes = name;
  std::replace(with_dashes.begin(), with_dashes.end(), '_', '-');
  const HfOption* theirs = find_hf_option(with_dashes);
  if (theirs == nullptr) return;
  const std::string ours(theirs->text.substr(0, theirs->text.find_first_of(" ;:,")));  // "--precision" of the text
  const CLI::Option* option = ours.starts_with("--") ? app.get_option_no_throw(ours) : nullptr;
  if (option == nullptr || std::find(reserved.begin(), reserved.end(), first_name(*option)) != reserved.end())
    fail<BadInput>("{}: {} is an option of Hugging Face's; a study has crisp-train's own", where, quote(name));
  const std::string values = option->get_type_name();
  fail<BadInput>("{}: {} is an option of Hugging Face's, and a study has crisp-train's own: {}{}", where, quote(name),
                 theirs->text, values.empty() ? "" : fmt::format(" ({} {})", ours, values));
}

OptionMap with_first_names(const CLI::App& app, const OptionMap& options, const std::string& where) {
  OptionMap named;
  for (const auto& [name, value] : options) {
    const CLI::Option* option = app.get_option_no_throw("--" + name);
    if (option == nullptr) refuse_hf_option(app, name, where);
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
  add_train_options(app, parsed, false);
  std::vector<std::string> words;  // CLI11 takes them from the end
  for (const auto& [name, value] : options) words.insert(words.begin(), fmt::format("--{}={}", name, value));
  try {
    app.parse(words);
  } catch (const CLI::ParseError& error) {
    fail<BadInput>("{}: {}", where, explain_parse_error(app, error));
  }
  return parsed;
}

// Arms without a common option, and the distinct reasons why it does not fit them.
struct LeftOut {
  std::vector<std::string> arms, reasons;

  void add(const std::string& arm, const std::string& reason) {
    arms.push_back(arm);
    if (std::find(reasons.begin(), reasons.end(), reason) == reasons.end()) reasons.push_back(reason);
  }
  bool has(const std::string& arm) const { return std::find(arms.begin(), arms.end(), arm) != arms.end(); }
};

void add_given(Study& study, const OptionMap& given, const std::string& where, std::vector<std::string>& notes) {
  for (const auto& option : given) {
    const auto& [name, value] = option;
    const auto differs = [&](const Study::Arm& arm) {
      const auto own = arm.options.find(option.first);
      return own != arm.options.end() && !same_value(own->second, option.second);
    };
    if (std::all_of(study.arms.begin(), study.arms.end(), differs))
      fail<UsageError>("--{}: every arm of {} sets it itself", name, where);
    for (const Study::Arm& arm : study.arms)
      if (differs(arm))
        notes.push_back(fmt::format("the arm {} keeps its own --{} {}", arm.name, name, arm.options.at(name)));
    study.options[name] = value;
  }
}

// The options of sparse attention that `arm` gets, those of `common` without the ones that do not fit it.
SparsityOptions fit(OptionMap common, const Study::Arm& arm, const std::string& where,
                    std::map<std::string, LeftOut>& left_out) {
  while (true) {
    const SparsityOptions sparse = parse(joined_options(common, arm.options), where).sparse;
    const auto is_common = [&](const std::string& name) {
      return common.contains(name) && !arm.options.contains(name);
    };
    std::optional<SparsityConflict> conflict = find_sparsity_conflict(sparse);
    // What crisp-train ignores would be recorded, and the arm be taken for one that reads parses, or be dense against
    // its own word.
    if (sparse.dense && is_common("sparse-method"))
      conflict = {"a dense run has no method", {"sparse-method"}};
    else if (sparse.dense && is_common("sparsity") && arm.options.contains("sparse-method"))
      conflict = {"--sparse-method is the arm's own", {"sparsity"}};
    if (!conflict) return sparse;
    const auto misfit = std::find_if(conflict->options.begin(), conflict->options.end(), is_common);
    if (misfit == conflict->options.end()) fail<BadInput>("{}: {}", where, conflict->message);
    left_out[*misfit].add(arm.name, conflict->message);
    common.erase(*misfit);
  }
}

// What a run of these options reads, as far as it can be told without reading it all. Messages begin with the option.
void check_inputs(const TrainOptions& o) {
  const auto naming = [](const char* option, const auto& look) {
    try {
      return look();
    } catch (const BadInput& error) {
      fail<BadInput>("--{} {}", option, error.what());
    }
  };
  DataFiles files = naming("data", [&] { return find_data_files(o); });
  for (const auto& [option, path] : {std::pair(o.train.empty() ? "data" : "train", files.train),
                                     std::pair(o.dev.empty() ? "data" : "dev", files.dev), std::pair("vocab", o.vocab),
                                     std::pair("parses", o.parses), std::pair("dev-parses", o.dev_parses)}) {
    std::error_code ignored;
    if (path.empty()) continue;
    if (fs::is_directory(path, ignored)) fail<BadInput>("--{} {}: is a directory, expected a file", option, path);
    if (::access(path.c_str(), R_OK) != 0)
      fail<BadInput>("--{} {}: cannot be opened: {}", option, path, std::strerror(errno));
  }
  require_data_sets(files, o);
  const int64_t layers =
      naming(o.init.empty() ? "weights" : "init", [&] { return config_without_weights(o.weights, o.init).layers; });
  keep_needed_parses(files, o, make_sparsity(o.sparse, layers, o.seed));
}

}  // namespace

std::vector<std::string> check_study_options(Study& study, const OptionMap& given, const std::string& where) {
  TrainOptions ignored;
  CLI::App app("", "crisp-train");
  add_train_options(app, ignored);
  std::vector<std::string> notes;
  const auto here = [&](const Study::Arm& arm) { return fmt::format("{}: arm '{}'", where, arm.name); };
  study.options = with_first_names(app, study.options, where);
  for (Study::Arm& arm : study.arms) arm.options = with_first_names(app, arm.options, here(arm));
  add_given(study, with_first_names(app, given, where), where, notes);

  std::map<std::string, LeftOut> left_out;
  std::set<std::string> dense;  // arms that nothing but --sparsity matters to
  for (const Study::Arm& arm : study.arms)
    if (fit(study.options, arm, here(arm), left_out).all_dense()) dense.insert(arm.name);
  for (const auto& [name, without] : left_out) {
    const std::string value = study.options.at(name), reasons = fmt::format("{}", fmt::join(without.reasons, "; "));
    bool taken = false;
    for (const Study::Arm& arm : study.arms) {
      const auto own = arm.options.find(name);
      const bool matters = name == "sparsity" || !dense.contains(arm.name);
      taken |= own != arm.options.end() ? same_value(own->second, value) : matters && !without.has(arm.name);
    }
    if (!taken) {
      const std::string complaint = fmt::format("--{} {}: no arm of {} takes it: {}", name, value, where, reasons);
      if (given.contains(name)) fail<UsageError>("{}", complaint);
      fail<BadInput>("{}", complaint);
    }
    for (Study::Arm& arm : study.arms)
      if (!without.has(arm.name)) arm.options.emplace(name, value);
    study.options.erase(name);
    notes.push_back(fmt::format("--{} {} is left out for {}: {}", name, value, fmt::join(without.arms, ", "), reasons));
  }
  return notes;
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

bool check_study_inputs(const Study& study, const std::string& sample_root) {
  bool samples = false;
  for (const Study::Arm& arm : study.arms) {
    TrainOptions o = parse(study.options_of(arm), arm.name);
    const bool sample = take_sample(o, sample_root);
    samples = samples || sample;
    if (o.weights.empty() && o.init.empty())
      fail<UsageError>("no weights for the arm {}: give --weights FILE|DIR, or --init", arm.name);
    try {
      check_inputs(o);
    } catch (const UsageError& error) {
      fail<UsageError>("arm '{}': {}", arm.name, error.what());
    } catch (const BadInput& error) {
      fail<BadInput>("arm '{}': {}", arm.name, error.what());
    }
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
