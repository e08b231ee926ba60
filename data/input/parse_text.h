// Numbers and lists in text that people write.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

namespace crisp {

/// parse_number<double> by the C library, for C++ libraries whose from_chars takes whole numbers only (libc++ before
/// 20).
std::optional<double> parse_real(std::string_view text);

/// The whole of `text` as a number, decimal and independent of the locale; nullopt otherwise.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  if constexpr (requires(const char* at, T& value) { std::from_chars(at, at, value); }) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
  } else {
    static_assert(std::is_same_v<T, double>);
    return parse_real(text);
  }
}

/// The parts between separators, one more than there are separators; they may be empty.
inline std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts{""};
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

}  // namespace crisp
