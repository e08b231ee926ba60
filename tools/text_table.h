// Tables in plain text, as the programs print them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace crisp {

/// How many columns a terminal takes for UTF-8 text: 2 for a wide character, 0 for one that combines.
int display_width(std::string_view text);

/// The columns of the terminal that standard output is; 80 where it does not say, 0 (any number) where it is none. The
/// variable COLUMNS wins.
int output_width();

/// Words of `text` in lines of at most `width` characters; a longer word has a line of its own.
std::string wrapped(const std::string& text, size_t width);

/// Rows of cells in columns as wide as their widest cell, two spaces between them.
class TextTable {
 public:
  enum class Kind {
    text,
    number,
    flexible,
    ending
  };  // flush left; flush right; flush left, and cut where the table is too wide: in the middle, at the beginning
  struct Column {
    std::string title;
    Kind kind = Kind::number;
  };
  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// As many cells as columns. A cell's text is shown as printable() (data/input/text.h) has it.
  void row(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  /// The table, each line ended. Where it is wider than `width` columns (0: any), cells of flexible columns lose their
  /// middle to "...", and those of ending ones their beginning, the longest first, down to 12 columns.
  std::string text(int width = output_width()) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace crisp
