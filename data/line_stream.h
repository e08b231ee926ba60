// Sentences as they arrive: from a pipe or terminal whose other end writes one line, waits for the answer, writes on.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "data/dataset.h"

namespace crisp {

/// Whole lines from a descriptor, in chunks. Keeps one chunk and what was read beyond it.
class LineStream {
 public:
  /// `name` stands for the stream in messages. A line of more than `longest` bytes is refused.
  LineStream(int fd, std::string name, size_t longest = size_t{64} << 20);

  /// The next lines with their line ends, at most `most`, as many as have arrived by now, but at least one: it waits
  /// for that. "" at the end. What stands after the last line end is a line. Throws BadInput for a line that is too
  /// long and when reading fails.
  std::string next(size_t most);
  /// Number of lines handed out by next().
  size_t lines() const { return lines_; }
  const std::string& name() const { return name_; }

 private:
  bool read_more();
  bool more_has_arrived() const;

  int fd_;
  std::string name_;
  size_t longest_, lines_ = 0;
  std::string buffer_;  // from begin_ on: read, not handed out
  size_t begin_ = 0;
  size_t searched_ = 0;  // there is no line end in buffer_ between begin_ and here
  bool ended_ = false;
};

/// The examples in such lines. What the lines are is told as read_dataset tells it, by the first one. Formats whose
/// records are no lines (CSV, JSON lists, gzip, a table with a header in quotes) are read to their end before the first
/// example. Quotes in other tables are a part of the text, with a note.
class ExampleStream {
 public:
  /// `options` as for read_dataset, with plain text and no examples allowed.
  ExampleStream(int fd, std::string name, const ReadOptions& options);

  /// Examples that have arrived, at most `most` lines of them; waits for one. None: the end. Throws BadInput as
  /// read_dataset does, but only when all examples before the mistake have been handed out.
  Dataset next(size_t most);

 private:
  bool recognise(std::string_view first_line);
  bool has_records_beyond_lines(std::string_view first_line) const;
  void read_whole(std::string content);
  Dataset next_of_whole(size_t most);
  Dataset parse(std::string_view lines) const;
  Dataset parse_line(std::string_view line, size_t number) const;
  Dataset parse_until_mistake(std::string_view lines, size_t number);
  void note_quotes(Dataset& examples);
  void check_labels(const Dataset& examples, size_t number);
  size_t hold_blank_lines(std::string& lines);

  LineStream lines_;
  ReadOptions options_;
  std::string header_;  // of a table: stands before whatever is parsed
  bool begun_ = false;
  std::optional<Dataset> whole_;  // of a format that must be read to its end
  size_t handed_out_ = 0;         // examples of it
  size_t blank_lines_ = 0;        // read, but they count only where something follows
  std::optional<bool> labelled_;  // whether the examples so far are
  bool quotes_noted_ = false;
  std::string mistake_;  // in the line after those that were handed out
};

}  // namespace crisp
