#include "tools/arguments.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/input/file.h"
#include "data/input/json.h"
#include "data/input/parse_text.h"
#include "data/input/text.h"
#include "data/text_file.h"
#include "data/unicode.h"
#include "engine/fail.h"
#include "tools/hf_options.h"
#include "tools/nearest.h"

namespace crisp {
namespace {

std::string normalised(std::string_view name) {
  std::string result(name);
  std::replace(result.begin(), result.end(), '_', '-');
  return result;
}

std::optional<ArgumentKind> kind_of(const CLI::App& app, const std::string& name) {
  if (const HfOption* theirs = understands_hf_options(app) ? find_hf_option(name) : nullptr) return theirs->kind;
  const CLI::Option* ours = find_option(app, name);
  if (ours == nullptr) return std::nullopt;
  return ours->get_items_expected_max() == 0 ? ArgumentKind::flag : ArgumentKind::value;
}

// Whether a word can be a value: no option's name, though perhaps a negative number.
bool is_value(const std::string& word) {
  return !word.starts_with("-") || word.size() == 1 || parse_number<double>(word).has_value();
}

bool takes_positionals(const CLI::App& app) {
  const std::vector<const CLI::Option*> options = app.get_options();
  return std::any_of(options.begin(), options.end(), [](const CLI::Option* o) { return o->get_positional(); });
}

// The options of which a file may write the value as a list.
bool takes_list(const std::string& name) {
  static const std::vector<std::string> lists{"sparsity", "sparse-layers", "bigbird", "keep", "label-names"};
  return std::find(lists.begin(), lists.end(), name) != lists.end() || find_hf_option(name) != nullptr;
}

void check_name(const CLI::App& app, const Argument& entry, const std::string& path) {
  if (entry.name == "config" || !kind_of(app, entry.name))
    throw CLI::ConfigError(fmt::format("--config: {}: there is no option {}", path, quote(entry.spelling.substr(2))));
}

void check_truth(const CLI::App& app, const Argument& argument) {
  if (kind_of(app, argument.name) == ArgumentKind::flag && argument.value && !truth_of(*argument.value))
    throw CLI::ValidationError(argument.spelling, fmt::format("must be true or false, not '{}'", *argument.value));
}

// CLI11 passes over lines of one or two characters.
void refuse_short_lines(std::string_view text, const std::string& path) {
  LineReader lines(text, path);
  while (lines.next()) {
    const std::string_view line = trim_end(trim_start(lines.line()));
    if (line.empty() || line.size() > 2 || line[0] == '#' || line[0] == ';') continue;
    fail<BadInput>("{}:{}: expected NAME = VALUE on one line, not {}", path, lines.number(), quote(line));
  }
}

std::vector<Argument> read_toml(const CLI::App& app, std::string_view text, const std::string& path) {
  refuse_short_lines(text, path);
  std::istringstream stream{std::string(text)};
  std::vector<Argument> entries;
  for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(stream)) {
    if (!item.parents.empty())
      throw CLI::ConfigError(
          fmt::format("--config: {}: sections are not known, but there is [{}]", path, fmt::join(item.parents, ".")));
    Argument entry{"--" + item.name, normalised(item.name)};
    check_name(app, entry, path);
    if (item.inputs.size() > 1 && !takes_list(entry.name))
      throw CLI::ConfigError(fmt::format(
          "--config: {}: {} has several values; it is there twice, or one that has spaces or commas needs quotes", path,
          quote(item.name)));
    entry.value = fmt::format("{}", fmt::join(item.inputs, ","));
    entries.push_back(std::move(entry));
  }
  return entries;
}

// One object of names and values, as Hugging Face's scripts take it.
std::vector<Argument> read_json(const CLI::App& app, const std::string& text, const std::string& path) {
  const nlohmann::json object = parse_json(text, path);
  const auto word = [](const nlohmann::json& value) {
    return value.is_string() ? value.get<std::string>() : value.dump();
  };
  std::vector<Argument> entries;
  for (const auto& [key, value] : object.items()) {
    Argument entry{"--" + key, normalised(key)};
    if (value.is_null()) continue;  // as if it were not there
    check_name(app, entry, path);
    std::vector<std::string> parts;
    if (value.is_array())
      for (const nlohmann::json& element : value) parts.push_back(word(element));
    if (parts.size() > 1 && !takes_list(entry.name))
      throw CLI::ConfigError(fmt::format("--config: {}: {} has several values", path, quote(key)));
    entry.value = value.is_array() ? fmt::format("{}", fmt::join(parts, ",")) : word(value);
    entries.push_back(std::move(entry));
  }
  return entries;
}

// Of a file, which has each name once.
void refuse_two_spellings(const std::vector<Argument>& entries, const std::string& path) {
  std::map<std::string, std::string> spellings;
  for (const Argument& entry : entries) {
    const auto [first, is_new] = spellings.emplace(entry.name, entry.spelling);
    if (!is_new)
      throw CLI::ConfigError(fmt::format("--config: {}: {} and {} are the same option; give it once", path,
                                         quote(first->second.substr(2)), quote(entry.spelling.substr(2))));
  }
}

std::vector<Argument> read_config(const CLI::App& app, const std::string& path) try {
  const std::string file = read_input(path, input_limit::settings);
  const std::string_view text = without_byte_order_mark(file);
  const size_t first = text.find_first_not_of(" \t\r\n");
  std::vector<Argument> entries = first != std::string::npos && text[first] == '{'
                                      ? read_json(app, std::string(text), path)
                                      : read_toml(app, text, path);
  refuse_two_spellings(entries, path);
  return entries;
} catch (const BadInput& error) {
  throw CLI::ConfigError(fmt::format("--config: {}", error.what()));
}

bool in_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_'; }

}  // namespace

std::optional<bool> truth_of(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* word : {"true", "yes", "on", "1", "t", "y"})
    if (lower == word) return true;
  for (const char* word : {"false", "no", "off", "0", "f", "n"})
    if (lower == word) return false;
  return std::nullopt;
}

const CLI::Option* find_option(const CLI::App& app, const std::string& name) {
  return name.empty() ? nullptr : app.get_option_no_throw("--" + name);
}

std::vector<Argument> read_arguments(const CLI::App& app, const std::vector<std::string>& words) {
  if (words.size() == 1 && words[0].ends_with(".json") && is_value(words[0]) && understands_hf_options(app) &&
      !takes_positionals(app))
    return read_arguments(app, {"--config", words[0]});
  std::vector<Argument> from_files, arguments;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") {  // what follows are no options
      for (; i < words.size(); ++i) arguments.push_back({words[i], ""});
      break;
    }
    if (!word.starts_with("--")) {
      arguments.push_back({word, ""});
      continue;
    }
    const size_t equals = word.find('=');
    Argument argument{word.substr(0, equals),
                      normalised(word.substr(2, equals == std::string::npos ? equals : equals - 2))};
    const std::optional<ArgumentKind> kind = kind_of(app, argument.name);
    if (!kind) {
      arguments.push_back({word, ""});
      continue;
    }
    if (equals != std::string::npos) argument.value = word.substr(equals + 1);
    const bool more = equals == std::string::npos && i + 1 < words.size();
    const auto follows = [&](const std::string& next) {
      // As Hugging Face's parser has it; elsewhere `--json 1` is a flag and a file.
      if (*kind == ArgumentKind::flag) return understands_hf_options(app) && truth_of(next).has_value();
      return is_value(next);
    };
    if (more && follows(words[i + 1])) argument.value = words[++i];
    if (argument.name == "config" && argument.value) {
      std::vector<Argument> entries = read_config(app, *argument.value);
      from_files.insert(from_files.end(), std::make_move_iterator(entries.begin()),
                        std::make_move_iterator(entries.end()));
    } else {
      arguments.push_back(std::move(argument));
    }
  }
  arguments.insert(arguments.begin(), std::make_move_iterator(from_files.begin()),
                   std::make_move_iterator(from_files.end()));
  for (const Argument& argument : arguments) check_truth(app, argument);
  return arguments;
}

std::vector<std::string> to_words(const std::vector<Argument>& arguments) {
  std::vector<std::string> words;
  for (const Argument& argument : arguments) {
    if (argument.name.empty() || !argument.value) {
      words.push_back(argument.spelling);
    } else if (argument.value->empty()) {  // after '=' CLI11 takes it for missing
      words.push_back("--" + argument.name);
      words.emplace_back();
    } else {
      words.push_back(fmt::format("--{}={}", argument.name, *argument.value));
    }
  }
  return words;
}

Spellings spellings_of(const CLI::App& app, const std::vector<Argument>& arguments) {
  Spellings spellings;
  for (const Argument& argument : arguments)
    if (const CLI::Option* option = find_option(app, argument.name))
      spellings[option->get_name(false, false)] = argument.spelling;
  return spellings;
}

std::string in_users_words(const std::string& message, const Spellings& spellings) {
  std::string result;
  for (size_t i = 0; i < message.size();) {
    const bool begins = message.compare(i, 2, "--") == 0 && (i == 0 || !in_name(message[i - 1]));
    size_t end = i + 1;
    while (begins && end < message.size() && in_name(message[end])) ++end;
    const auto spelled = spellings.find(message.substr(i, end - i));
    result += spelled == spellings.end() ? message.substr(i, end - i) : spelled->second;
    i = end;
  }
  return result;
}

const CLI::App& addressed(const CLI::App& app) {
  for (const CLI::App* sub : app.get_subcommands()) return *sub;
  return app;
}

std::string explain_parse_error(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> unknown = app.remaining(true);
  if (app.get_require_subcommand_min() > 0 && app.get_subcommands().empty() && !unknown.empty()) {
    std::vector<std::string> names;
    for (const CLI::App* subcommand : app.get_subcommands({})) names.push_back(subcommand->get_name());
    return fmt::format("there is no subcommand {}{}", unknown.front(), did_you_mean(unknown.front(), names));
  }
  if (dynamic_cast<const CLI::ExtrasError*>(&error) == nullptr) return error.what();
  for (const std::string& argument : unknown) {
    if (!argument.starts_with("--")) continue;
    const std::string word = argument.substr(2, argument.find('=') - 2);
    std::string nearest;
    size_t distance = 3;  // more is another word
    const auto compare = [&](const std::string& name, const std::string& shown) {
      const size_t d = edit_distance(word, name);
      if (d < distance) nearest = shown, distance = d;
    };
    const CLI::App& about = addressed(app);
    for (const CLI::Option* option : about.get_options())
      for (const std::string& name : option->get_lnames()) compare(name, option->get_name());
    if (understands_hf_options(about)) {
      for (const HfOption& option : hf_options()) {
        std::string theirs(option.name);
        std::replace(theirs.begin(), theirs.end(), '-', '_');
        compare(theirs, "--" + theirs);
      }
    }
    return fmt::format("there is no option --{}{}", word, nearest.empty() ? "" : "; did you mean " + nearest + "?");
  }
  return error.what();
}

}  // namespace crisp
