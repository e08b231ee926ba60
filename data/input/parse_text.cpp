#include "data/input/parse_text.h"

#include <clocale>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace crisp {

std::optional<double> parse_real(std::string_view text) {
  const bool negative = text.starts_with('-');
  std::string number(text.substr(negative ? 1 : 0));
  // What strtod knows beyond from_chars: spaces, a plus, hexadecimal digits.
  if (number.empty() || number[0] == '+' || number[0] == '-') return std::nullopt;
  if (number.find_first_not_of("0123456789.eE+-") != std::string::npos) {
    for (char& c : number) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    double word = 0;
    if (number == "inf" || number == "infinity") word = std::numeric_limits<double>::infinity();
    if (number == "nan") word = std::numeric_limits<double>::quiet_NaN();
    if (word == 0) return std::nullopt;
    return negative ? -word : word;
  }
  const bool zero = number.substr(0, number.find_first_of("eE")).find_first_of("123456789") == std::string::npos;
  // The point of the locale, which a host program may have set.
  if (const size_t point = number.find('.'); point != std::string::npos)
    number.replace(point, 1, std::localeconv()->decimal_point);
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  const bool in_range = std::isfinite(value) && (value != 0 || zero);
  if (end != number.c_str() + number.size() || !in_range) return std::nullopt;
  return negative ? -value : value;
}

}  // namespace crisp
