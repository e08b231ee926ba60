#include "data/input/setting.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace crisp {

std::string show_value(const SettingValue& value) {
  const auto show = [](const auto& v) -> std::string {
    using T = std::decay_t<decltype(v)>;
    if constexpr (std::is_same_v<T, std::monostate>)
      return "";
    else if constexpr (std::is_same_v<T, bool>)
      return v ? "on" : "off";
    else if constexpr (std::is_same_v<T, std::vector<std::string>> || std::is_same_v<T, std::vector<int64_t>>)
      return fmt::format("{}", fmt::join(v, ","));
    else
      return fmt::format("{}", v);
  };
  return std::visit(show, value);
}

std::string WholeNumbers::str() const { return fmt::format("a whole number from {} to {}", least, most); }

std::string setting::must_be(const std::string& range, const std::string& value) {
  return fmt::format("must be {}, not '{}'", range, value);
}

std::optional<bool> setting::position_of_switch(const std::string& text) {
  for (const char* word : {"on", "true", "1"})
    if (text == word) return true;
  for (const char* word : {"off", "false", "0"})
    if (text == word) return false;
  return std::nullopt;
}

}  // namespace crisp
