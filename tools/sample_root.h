// Where the bundled sample lies.
#pragma once

#include <filesystem>
#include <string>

#include "engine/system.h"

namespace crisp {

/// The folder with weights/sample and data/sample: the source tree that this program was built from, or, if that has
/// moved together with its build folder, the folder above the program; or share/crisp beside an installed program's
/// folder.
inline std::string sample_root() {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path built_from = CRISP_SOURCE_ROOT;
  if (fs::exists(built_from / "data/sample", error)) return built_from.string();
  const fs::path program = fs::read_symlink(os::this_program(), error);
  const fs::path above = program.parent_path().parent_path();
  return fs::exists(above / "share/crisp/data/sample", error) ? (above / "share/crisp").string() : above.string();
}

}  // namespace crisp
