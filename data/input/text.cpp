#include "data/input/text.h"

#include <fmt/format.h>
#include <utf8proc.h>

namespace crisp {
namespace {

// Whether a character, shown as it is, is seen and nothing else.
bool is_harmless(utf8proc_int32_t code) {
  if (code < 0) return false;
  if (code < 0x80) return code >= 0x20 && code != 0x7F;
  switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

std::string escaped(utf8proc_int32_t code, unsigned char byte) {
  switch (code) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      break;
  }
  if (code < 0) return fmt::format("\\x{:02x}", byte);
  if (code < 0x10000) return fmt::format("\\u{:04x}", code);
  const auto rest = code - 0x10000;
  return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
}

}  // namespace

Decoded decode_utf8(std::string_view text, size_t at) {
  utf8proc_int32_t code = -1;
  const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                                       static_cast<utf8proc_ssize_t>(text.size() - at), &code);
  return length > 0 ? Decoded{code, static_cast<size_t>(length)} : Decoded{-1, 1};
}

size_t find_invalid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const Decoded c = decode_utf8(text, i);
    if (c.code < 0) return i;
    i += c.length;
  }
  return std::string_view::npos;
}

std::string_view without_byte_order_mark(std::string_view text) {
  constexpr std::string_view mark = "\xEF\xBB\xBF";
  return text.starts_with(mark) ? text.substr(mark.size()) : text;
}

std::string quote(std::string_view text, size_t limit) {
  std::string shown = "\"";
  for (size_t i = 0; i < text.size();) {
    if (i >= limit) {
      shown += "...";
      break;
    }
    const Decoded c = decode_utf8(text, i);
    if (c.code == '"' || c.code == '\\') shown += '\\';
    if (is_harmless(c.code)) {
      shown += text.substr(i, c.length);
    } else {
      shown += escaped(c.code, static_cast<unsigned char>(text[i]));
    }
    i += c.length;
  }
  return shown + '"';
}

std::string printable(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const Decoded c = decode_utf8(text, i);
    if (!is_harmless(c.code)) return quote(text, std::string_view::npos);
    i += c.length;
  }
  return std::string(text);
}

std::string printable_lines(std::string_view text) {
  std::string shown;
  for (size_t i = 0; i < text.size();) {
    const Decoded c = decode_utf8(text, i);
    if (c.code == '\n' || is_harmless(c.code)) {
      shown += text.substr(i, c.length);
    } else {
      shown += escaped(c.code, static_cast<unsigned char>(text[i]));
    }
    i += c.length;
  }
  return shown;
}

bool is_bare_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
}

}  // namespace crisp
