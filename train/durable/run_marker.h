// crisp_run.json, which marks a directory as a run's: the names of the files that the run may write, and that
// --overwrite may delete, and once it has begun to train, what it was asked for.
#pragma once

#include <string>
#include <vector>

namespace crisp {

struct RunMarker {
  std::vector<std::string> files;
  /// An object as JSON text: the "settings" of all_results.json, and "started_in", the directory by which their
  /// relative paths go. "" before the first step, and in markers of older versions.
  std::string settings = {};
};

std::string format_run_marker(const RunMarker& marker);
/// The same backwards. Throws BadInput, naming `where`, for what format_run_marker does not write, a name that leads
/// out of the directory among it.
RunMarker parse_run_marker(const std::string& text, const std::string& where);

}  // namespace crisp
