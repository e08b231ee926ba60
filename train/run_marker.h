// crisp_run.json, which marks a directory as a run's: the names of the files that the run may write, and that
// --overwrite may delete.
#pragma once

#include <string>
#include <vector>

namespace crisp {

std::string format_run_marker(const std::vector<std::string>& names);
/// The same backwards. Throws BadInput, naming `where`, for what format_run_marker does not write, a name that leads
/// out of the directory among it.
std::vector<std::string> parse_run_marker(const std::string& text, const std::string& where);

}  // namespace crisp
