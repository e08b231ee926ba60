// The programs' common command-line vocabulary and the frame around their main().
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/input/interval.h"
#include "data/input/setting.h"
#include "data/text_format.h"
#include "train/inference/settings.h"
#include "train/run/train_options.h"

// CLI11, whose header takes seconds to compile: only what needs more than the functions below includes it.
namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace crisp {

/// Adds every option of a training run, in groups, with Hugging Face's spellings as aliases, value checks, the defaults
/// of `options` in --help, and --config FILE. `options` must outlive the parsing. `one_run`: whether they are all that
/// a run is given; where others join them, whoever joins them asks find_sparsity_conflict.
void add_train_options(CLI::App& app, TrainOptions& options, bool one_run = true);

/// What every program does around its work: makes the standard streams safe (streams.h), parses the command line, runs
/// `body`, and returns the exit code: the body's, or for an exception 1 (Error, out of memory), 2 (UsageError, command
/// line), 3 (BadInput), 4 (Diverged), with "NAME: message" on stderr, where NAME is the app's, and 128 + N for
/// Interrupted, silently. Output that cannot be written (a full disk behind `> file`) is an Error; see finish_output().
/// --help and --version (which it adds) print to stdout and return 0. Options in messages are spelled as the user has.
/// Where there is --config, Hugging Face's options are understood (hf_options.h).
int run_program(CLI::App& app, int argc, const char* const* argv, const std::function<int()>& body);

/// A subcommand, as add_command() makes it, and what runs it.
struct Command {
  CLI::App* app;
  std::function<int()> run;
};
/// run_program() for a program that consists of subcommands, one of which must be given.
int run_commands(const std::string& description, const std::string& name, int argc, const char* const* argv,
                 const std::vector<std::function<Command(CLI::App&)>>& adders);
/// `footer`: below the list of options in --help.
CLI::App* add_command(CLI::App& program, const std::string& name, const std::string& description,
                      const std::string& footer = "");

// --- Building blocks, for options that a program has beside these. `names` is "learning-rate,lr": the first is shown
// in --help, and each is accepted with '_' for '-' as well. The value that `variable` has now is the default shown. Of
// an option given twice, the last counts. A value that is refused ends the parsing with one line saying what is
// allowed.

/// Help with one name per option, flags shown as such. Called by add_train_options.
void set_help_style(CLI::App& app);
/// --config FILE with lines "name = value" (the subset of TOML that CLI11 reads) or a JSON object, which run_program
/// reads before all else (arguments.h). The command line wins over the file.
void add_config_option(CLI::App& app);

/// `type_name` stands for the value in --help.
CLI::Option* add_text(CLI::App& app, const std::string& names, std::string& variable, const std::string& description,
                      const std::string& type_name = "TEXT");
/// A word, or several, without an option's name before it.
CLI::Option* add_positional(CLI::App& app, const std::string& name, std::string& variable,
                            const std::string& description);
CLI::Option* add_positional(CLI::App& app, const std::string& name, std::vector<std::string>& variable,
                            const std::string& description);
/// The same option, without which there is no parsing; in a group of --help.
CLI::Option* required(CLI::Option* option);
CLI::Option* put_in_group(CLI::Option* option, const std::string& group);
/// The first option of a group that the command line has, "" for none.
std::string first_given(const CLI::App& app, const std::string& group);
CLI::Option* add_flag(CLI::App& app, const std::string& names, bool& variable, const std::string& description);
/// A whole number from `minimum` to `maximum`.
CLI::Option* add_integer(CLI::App& app, const std::string& names, int64_t& variable, int64_t minimum, int64_t maximum,
                         const std::string& description);

CLI::Option* add_real(CLI::App& app, const std::string& names, double& variable, const Interval& interval,
                      const std::string& description);
/// An option that takes a text, or where `type_name` is "" a flag, of which `parse` is given "on" or "off".
CLI::Option* add_setting_parser(CLI::App& app, const std::string& names, const std::string& type_name,
                                const std::string& default_text, const std::string& description,
                                std::function<std::string(const std::string&)> parse);
/// A declared setting of `options`, which must outlive the parsing.
template <class Options, class Base>
CLI::Option* add_setting(CLI::App& app, Options& options, const Setting<Base>& setting) {
  CLI::Option* option =
      add_setting_parser(app, setting.names, setting.type, show_value(setting.get(options)), setting.help,
                         [&options, set = setting.set](const std::string& text) { return set(options, text); });
  return setting.group.empty() ? option : put_in_group(option, setting.group);
}
/// An option of which the text is given to `parse`; what that returns is the complaint, "" for none.
CLI::Option* add_parsed(CLI::App& app, const std::string& names, const std::string& type_name,
                        const std::string& default_text, std::function<std::string(const std::string&)> parse,
                        const std::string& description);

/// One word of a few. The first word of a value is shown, the others are accepted too.
template <class T>
CLI::Option* add_choice(CLI::App& app, const std::string& names, T& variable,
                        const std::vector<std::pair<std::string, T>>& words, const std::string& shown,
                        const std::string& description) {
  std::string default_text;
  for (auto it = words.rbegin(); it != words.rend(); ++it) {
    if (it->second == variable) default_text = it->first;
  }
  const auto parse = [words, shown, &variable](const std::string& text) -> std::string {
    for (const auto& [word, value] : words) {
      if (text == word) {
        variable = value;
        return "";
      }
    }
    return "must be one of " + shown + ", not '" + text + "'";
  };
  return add_parsed(app, names, shown, default_text, parse, description);
}

/// --threads, --precision and --device of options that have these.
template <class Options>
CLI::Option* add_threads(CLI::App& app, Options& options) {
  return add_setting(app, options, threads_setting<Options>());
}
template <class Options>
CLI::Option* add_precision(CLI::App& app, Options& options) {
  return add_setting(app, options, precision_setting<Options>());
}
template <class Options>
CLI::Option* add_device(CLI::App& app, Options& options) {
  return add_setting(app, options, device_setting<Options>());
}

inline constexpr const char* sparse_group = "Sparse attention";
/// That group of a training run's options. `options` must outlive the parsing.
/// `shown`: what --help says holds where --sparsity is not given.
void add_sparse_options(CLI::App& app, SparsityOptions& options, const std::string& shown = "dense");

/// --format of a file of sentences, the same. `file` names that file in the help.
CLI::Option* add_text_format(CLI::App& app, TextFormat& format, const std::string& file);

}  // namespace crisp
