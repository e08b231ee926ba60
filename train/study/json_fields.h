// What a JSON object that somebody may have damaged has under a key; what is absent or of another type is none.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace crisp::json_fields {

using nlohmann::ordered_json;

/// A null value without.
inline const ordered_json& member(const ordered_json& object, const char* key) {
  static const ordered_json nothing;
  const auto found = object.find(key);
  return found != object.end() ? *found : nothing;
}

/// NaN without.
inline double number(const ordered_json& object, const char* key) {
  const ordered_json& value = member(object, key);
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

inline int64_t whole(const ordered_json& object, const char* key, int64_t otherwise = 0) {
  const ordered_json& value = member(object, key);
  return value.is_number_integer() ? value.get<int64_t>() : otherwise;
}

/// "" without.
inline std::string text(const ordered_json& object, const char* key) {
  const ordered_json& value = member(object, key);
  return value.is_string() ? value.get<std::string>() : "";
}

/// Of an array, NaN for what is none; empty without.
inline std::vector<double> numbers(const ordered_json& array) {
  std::vector<double> values;
  if (array.is_array())
    for (const auto& value : array)
      values.push_back(value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN());
  return values;
}

}  // namespace crisp::json_fields
