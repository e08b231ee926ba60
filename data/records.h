// Files of rows and columns: values between tabs, commas or semicolons, in quotes where they need it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace crisp {

/// What a double quote means. `literal`: itself; a record is a line (GLUE's files). `quoting`: as in RFC 4180; a field
/// in quotes holds what stands between them, delimiters and line ends too, and two quotes for one.
enum class Quotes : bool { literal, quoting };

/// Walks over the records of `content`, which must outlive it; `name` is the file in messages. Line ends are those of
/// LineReader.
class RecordReader {
 public:
  RecordReader(std::string_view content, std::string name, char delimiter, Quotes quotes);

  /// Moves to the next record; false at the end. Blank lines at the end are none; elsewhere they are one empty field.
  /// Throws BadInput when a quote is not closed, something else than a delimiter follows a closing one, or a carriage
  /// return stands alone (quoting only).
  bool next();

  /// Of this record; the caller may move them out.
  std::vector<std::string>& fields() { return fields_; }
  /// Whether a field stood in quotes, and whether it needed them: held a quote, delimiter or line end.
  struct Quoting {
    bool quoted = false, needed = false, spans_lines = false;
  };
  const std::vector<Quoting>& quoting() const { return quoting_; }
  /// Whether some unquoted field so far held a quote, which a writer that quotes would not have left bare.
  bool bare_quotes() const { return bare_quotes_; }
  /// The line on which the record begins, from 1.
  size_t line() const { return line_; }
  /// And that on which it ends, or would go on.
  size_t last_line() const { return last_line_; }
  std::string where() const;

 private:
  bool at_line_end() const;
  void read_quoted_field();
  void read_bare_field();

  std::string_view content_;
  std::string name_;
  char delimiter_, line_end_;
  Quotes quotes_;
  size_t at_ = 0, line_ = 0, last_line_ = 0, next_line_ = 1;
  std::vector<std::string> fields_;
  std::vector<Quoting> quoting_;
  bool bare_quotes_ = false;
};

/// Which columns of a table hold what; -1 = none does.
struct Columns {
  int text = -1, label = -1;
  size_t count = 0;
};

/// What a file's first record says, if it is a header: names out of sentence or text, label, and index, idx or id (or
/// nothing, as pandas names its index), in small or large letters, among them a sentence and no number. Throws BadInput
/// (`where`) for a header with another name or one twice.
std::optional<Columns> parse_header(const std::vector<std::string>& names, const std::string& where);

/// How the quotes of a tab-separated file are to be read: as themselves, as in GLUE's files, or as quotes, as pandas
/// writes them. They quote where the whole file can be read so, and either cannot be read literally, or doubled quotes
/// or quotes around every sentence speak for it. Throws BadInput where both readings are possible with other records.
struct QuotesFound {
  Quotes quotes = Quotes::literal;
  std::string note = {};  // for the user, where it is a guess
};
QuotesFound find_quotes(std::string_view content, const std::string& name);

/// Whether a file whose columns are not known is a table all the same: each of its records has as many fields, at least
/// two, and bare names at the top, quotes around everything or numbers beside quotes tell it from prose.
bool looks_like_table(std::string_view content, char delimiter);

}  // namespace crisp
