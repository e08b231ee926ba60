// The command line before the parser of options sees it: words paired with their values, --config files in their place,
// and the spellings that the user chose, which messages then use, too.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace crisp {

/// What may follow an option's name: nothing but a truth value, a value, or a value that may be left out.
enum class ArgumentKind : uint8_t { flag, value, optional };

struct Argument {
  std::string spelling;  // as it was typed: "--learning_rate"; of a word that is no option's name, the word
  std::string name;      // "learning-rate"; "" of a word that is no option's name
  std::optional<std::string> value = {};
};

/// What `text` says as a truth value: true, false, yes, no, on, off, 1, 0, t, f, y, n in any case.
std::optional<bool> truth_of(std::string_view text);

/// The argument's name as CLI11 has it, "--learning-rate", and the option of that name; nullptr where there is none.
const CLI::Option* find_option(const CLI::App& app, const std::string& name);

/// Pairs names and values. A --config FILE is replaced by its entries, which go before all others, so that the command
/// line wins; a .json file alone is one, as for Hugging Face's scripts, where the program takes no file. Throws
/// CLI::ParseError for a file that is none or names what is no option.
std::vector<Argument> read_arguments(const CLI::App& app, const std::vector<std::string>& words);

/// The words that say the same to CLI11.
std::vector<std::string> to_words(const std::vector<Argument>& arguments);

/// First names of options ("--learning-rate") and how the user spelled them ("--lr").
using Spellings = std::map<std::string, std::string>;
Spellings spellings_of(const CLI::App& app, const std::vector<Argument>& arguments);
/// A message with the user's spellings in the place of first names.
std::string in_users_words(const std::string& message, const Spellings& spellings);

/// CLI11's message about a command line; for an option that does not exist, with the one that may be meant.
std::string explain_parse_error(const CLI::App& app, const CLI::ParseError& error);

/// The subcommand that the command line named, else the program itself.
const CLI::App& addressed(const CLI::App& app);

}  // namespace crisp
