// What the system tells about processes, and about the machine that they are on.
#pragma once

#include <optional>
#include <string>

namespace crisp {

/// Seconds since this process was started, to a hundredth; nothing where the system does not tell.
std::optional<double> process_age();

/// The name of the machine, "_" in it for what is no part of a file's name or a word; "localhost" where it has none.
std::string host_name();

/// The state of a process ("R", "Z" for one that is dead and not waited for, "X", ...) and its start, in clock ticks
/// since the machine was started. `id`: its number, or "self". Nothing where /proc does not show it.
struct ProcessStat {
  std::string state, start;
};
std::optional<ProcessStat> process_stat(const std::string& id);

}  // namespace crisp
