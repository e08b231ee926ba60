// Text files as users have them: LF or CRLF, perhaps without a newline at the end, and UTF-8 or else an error with its
// line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace crisp {

/// Walks over the lines of `content`; a final newline opens no further line. `name` is the file in messages.
class LineReader {
 public:
  LineReader(std::string_view content, std::string name) : rest_(content), name_(std::move(name)) {}

  /// Moves to the next line; false at the end. Throws BadInput when the line is not valid UTF-8.
  bool next();

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
  size_t number_ = 0;
};

}  // namespace crisp
