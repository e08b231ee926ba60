// JSON as the programs print it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "data/input/text.h"

namespace crisp {

/// A text that is no UTF-8 does not end it, and what a terminal would obey is escaped. `indent` below 0: in one line.
inline std::string json_text(const nlohmann::ordered_json& json, int indent = -1) {
  return printable_lines(json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace crisp
