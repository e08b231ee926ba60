// The options of Hugging Face's training scripts (run_glue.py, TrainingArguments) that are no spelling of one of ours:
// a table of what becomes of each.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/arguments.h"

namespace crisp {

/// What becomes of a value that is not `fine`.
enum class HfOutcome : uint8_t {
  ignored,  // it changes no number here: a note says why
  refused,  // exit code 2
  mapped,   // to ours, by code, perhaps together with others
};

struct HfOption {
  std::string_view name;  // "load-best-model-at-end"
  ArgumentKind kind;
  HfOutcome outcome;
  /// Values with '|' between that say what happens here anyway: nothing is said about them. "none" is always one.
  std::string_view fine;
  /// ignored: why that changes nothing; refused: what to do; mapped: to what.
  std::string_view text;
};

std::span<const HfOption> hf_options();
/// The entry of this name ("-" for "_"), or of NAME where it is "no-NAME" and NAME is a flag; nullptr for none.
const HfOption* find_hf_option(std::string_view name);

/// Whether this is a program that trains: only there their options mean something.
bool understands_hf_options(const CLI::App& app);

struct OwnArguments {
  std::vector<Argument> arguments;
  std::string note;  // one line about all that was ignored; "" for nothing
};

/// The same in our options. Throws CLI::ValidationError for what is refused, with the user's spelling.
OwnArguments translate_hf_options(const CLI::App& app, const std::vector<Argument>& arguments);

}  // namespace crisp
