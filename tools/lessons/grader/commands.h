// The subcommands of crisp-lessons. Each add_*() adds one to the program, with its options, and returns what runs it.
#pragma once

#include <string>

#include "tools/options.h"

namespace crisp::lessons {

/// `program_name`: as the user has started it, for the commands that are suggested.
Command add_list(CLI::App& program, const std::string& program_name);
Command add_next(CLI::App& program, const std::string& program_name);
Command add_start(CLI::App& program, const std::string& program_name);
Command add_check(CLI::App& program, const std::string& program_name);
Command add_hint(CLI::App& program, const std::string& program_name);

}  // namespace crisp::lessons
