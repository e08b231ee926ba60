// Files of JSON lines that a run has left, perhaps not to their end.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>

#include "data/input/file.h"
#include "data/input/json.h"
#include "engine/error.h"

namespace crisp {

/// Lines that are not what they should be. The last one may be cut short by an interruption.
struct DamagedLines {
  int64_t all = 0, before_last = 0;
};

/// use(JsonFields) for each line of the file; one that is no object, or that makes it throw BadInput, is damaged. No
/// lines where there is no file.
template <class Use>
DamagedLines for_each_json_line(const std::string& path, Use use) {
  std::istringstream file(read_input_or_empty(path, input_limit::log));
  DamagedLines damaged;
  for (std::string line; std::getline(file, line);) {
    damaged.before_last = damaged.all;
    const std::optional<nlohmann::ordered_json> object = try_json_object(line);
    try {
      if (object)
        use(JsonFields(*object, path));
      else
        ++damaged.all;
    } catch (const BadInput&) {
      ++damaged.all;
    }
  }
  return damaged;
}

}  // namespace crisp
