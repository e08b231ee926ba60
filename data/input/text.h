// Text of strangers: whether it is UTF-8, and how it may be shown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace crisp {

/// A character and its length in bytes; code -1 and length 1 for a byte where no well-formed character begins.
struct Decoded {
  int32_t code;
  size_t length;
};
/// The character at text[at]; `at` is less than the size.
Decoded decode_utf8(std::string_view text, size_t at = 0);

/// The position of the first byte that is not well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms), or npos.
size_t find_invalid_utf8(std::string_view text);

/// Without the mark that some editors put before a file's text.
std::string_view without_byte_order_mark(std::string_view text);

/// `text` in double quotes as one line that a terminal shows and does not obey: control and format characters (those
/// that turn the direction of text or have no width, too), line separators, unassigned code points and bytes that are
/// no UTF-8 are escaped as in JSON. Cut, with "..." before the closing quote, after about `limit` bytes.
std::string quote(std::string_view text, size_t limit = 100);

/// The same for places that hold a name or a sentence by itself, a column of a table for instance: text without any
/// such character stays as it is, unquoted and whole.
std::string printable(std::string_view text);

/// The same for messages that quote such text: lines stay lines, and what a terminal would obey is escaped where it is.
std::string printable_lines(std::string_view text);

/// Whether a file's name that somebody wrote stays in its directory: not empty, not . or .., no slash and no NUL.
bool is_bare_file_name(std::string_view name);

}  // namespace crisp
