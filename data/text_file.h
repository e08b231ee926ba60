// Text files as users have them: LF or CRLF (or CR alone, in all of the file), perhaps without a newline at the end,
// and UTF-8 or else an error with its line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace crisp {

/// How the lines of `content` end: '\n' (a '\r' before it belongs to it), but '\r' where there is no '\n' at all.
char line_end_of(std::string_view content);

/// Walks over the lines of `content`; a final newline opens no further line. `name` is the file in messages.
class LineReader {
 public:
  LineReader(std::string_view content, std::string name)
      : rest_(content), name_(std::move(name)), line_end_(line_end_of(content)) {}

  /// Moves to the next line; false at the end. Throws BadInput when the line is not valid UTF-8.
  bool next();
  /// Whether this line and all that follow are blank.
  bool at_blank_end() const;

  /// The line without its line end.
  std::string_view line() const { return line_; }
  /// What follows this line.
  std::string_view rest() const { return rest_; }
  /// The line's number, from 1.
  size_t number() const { return number_; }
  /// "file:line", the line counted from 1.
  std::string where() const;

 private:
  std::string_view rest_, line_;
  std::string name_;
  char line_end_;
  size_t number_ = 0;
};

/// Throws BadInput with file and line when `content` is not valid UTF-8 or holds a NUL byte.
void check_text(std::string_view content, const std::string& name);

}  // namespace crisp
