#include "tools/text_table.h"

#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

#include "data/input/parse_text.h"
#include "data/input/text.h"

namespace crisp {
namespace {

constexpr int least_flexible = 12;

// The bytes of the first (or, from the end, the last) characters that take at most `width` columns.
std::string_view part(std::string_view text, int width, bool from_end) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < text.size(); i += decode_utf8(text, i).length) starts.push_back(i);
  starts.push_back(text.size());
  size_t taken = 0;  // characters
  while (taken + 1 < starts.size()) {
    const size_t more = taken + 1;
    const auto shown = from_end ? text.substr(starts[starts.size() - 1 - more]) : text.substr(0, starts[more]);
    if (display_width(shown) > width) break;
    taken = more;
  }
  return from_end ? text.substr(starts[starts.size() - 1 - taken]) : text.substr(0, starts[taken]);
}

std::string without_middle(const std::string& text, int width) {
  if (display_width(text) <= width) return text;
  const int left = (width - 3) / 2;
  return std::string(part(text, left, false)) + "..." + std::string(part(text, width - 3 - left, true));
}

std::string without_beginning(const std::string& text, int width) {
  return display_width(text) <= width ? text : "..." + std::string(part(text, width - 3, true));
}

bool may_be_cut(TextTable::Kind kind) { return kind == TextTable::Kind::flexible || kind == TextTable::Kind::ending; }

std::string padded(const std::string& text, int width, bool right) {
  const std::string space(static_cast<size_t>(std::max(0, width - display_width(text))), ' ');
  return right ? space + text : text + space;
}

}  // namespace

int display_width(std::string_view text) {
  int width = 0;
  for (size_t i = 0; i < text.size();) {
    const Decoded c = decode_utf8(text, i);
    width += c.code < 0 ? 1 : utf8proc_charwidth(c.code);
    i += c.length;
  }
  return width;
}

int output_width() {
  if (const char* columns = std::getenv("COLUMNS"))
    if (const auto n = parse_number<int>(columns); n && *n > 0) return *n;
  if (::isatty(STDOUT_FILENO) != 1) return 0;
  struct winsize size {};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void TextTable::row(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = printable(cell);
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string TextTable::text(int width) const {
  std::vector<std::vector<std::string>> lines(1);
  for (const Column& column : columns_) lines[0].push_back(column.title);
  lines.insert(lines.end(), rows_.begin(), rows_.end());
  std::vector<int> widths(columns_.size());
  int total = 2 * std::max(0, static_cast<int>(columns_.size()) - 1);
  for (size_t c = 0; c < columns_.size(); ++c) {
    for (const auto& line : lines) widths[c] = std::max(widths[c], display_width(line[c]));
    total += widths[c];
  }
  while (width > 0 && total > width) {
    size_t widest = columns_.size();
    for (size_t c = 0; c < columns_.size(); ++c)
      if (may_be_cut(columns_[c].kind) && widths[c] > least_flexible &&
          (widest == columns_.size() || widths[c] > widths[widest]))
        widest = c;
    if (widest == columns_.size()) break;
    --widths[widest];
    --total;
  }
  std::string text;
  for (const auto& cells : lines) {
    std::string line;
    for (size_t c = 0; c < cells.size(); ++c) {
      const Kind kind = columns_[c].kind;
      if (c > 0) line += "  ";
      line += padded(kind == Kind::flexible ? without_middle(cells[c], widths[c])
                     : kind == Kind::ending ? without_beginning(cells[c], widths[c])
                                            : cells[c],
                     widths[c], kind == Kind::number);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string wrapped(const std::string& text, size_t width) {
  std::string result;
  size_t column = 0;
  for (const std::string& word : split(text, ' ')) {
    if (column > 0 && column + 1 + word.size() > width) {
      result += '\n';
      column = 0;
    } else if (column > 0) {
      result += ' ';
      ++column;
    }
    result += word;
    column += word.size();
  }
  return result;
}

}  // namespace crisp
