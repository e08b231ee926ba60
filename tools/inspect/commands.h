// The subcommands of crisp-inspect. Each add_*() adds one to the program, with its options, and returns what runs it.
#pragma once

#include "tools/options.h"

namespace crisp::inspect {

Command add_attention(CLI::App& program);
Command add_check(CLI::App& program);
Command add_diff(CLI::App& program);
Command add_grad(CLI::App& program);
Command add_graph(CLI::App& program);
Command add_memory(CLI::App& program);
Command add_nan(CLI::App& program);
Command add_step(CLI::App& program);
Command add_tokens(CLI::App& program);
Command add_weights(CLI::App& program);

}  // namespace crisp::inspect
