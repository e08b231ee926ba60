#include "data/text_file.h"

#include <algorithm>

#include "data/input/text.h"
#include "engine/fail.h"

namespace crisp {

char line_end_of(std::string_view content) {
  return content.find('\n') == std::string_view::npos && content.find('\r') != std::string_view::npos ? '\r' : '\n';
}

namespace {
[[noreturn]] void refuse_byte(std::string_view line, size_t bad, const std::string& where) {
  fail<BadInput>("{}: byte {} of the line (0x{:02X}) is not valid UTF-8; save the file as UTF-8", where, bad + 1,
                 static_cast<unsigned char>(line[bad]));
}
}  // namespace

void check_text(std::string_view content, const std::string& name) {
  const size_t bad = std::min(find_invalid_utf8(content), content.find('\0'));
  if (bad == std::string_view::npos) return;
  const char line_end = line_end_of(content);
  const std::string_view before = content.substr(0, bad);
  const size_t line_start = before.rfind(line_end) + 1;  // 0 for npos
  const std::string where = fmt::format("{}:{}", name, 1 + std::count(before.begin(), before.end(), line_end));
  if (content[bad] == '\0') fail<BadInput>("{}: holds a NUL byte; is this a text file, and UTF-8?", where);
  refuse_byte(content.substr(line_start), bad - line_start, where);
}

bool LineReader::next() {
  if (rest_.empty()) return false;
  ++number_;
  const size_t end = rest_.find(line_end_);
  line_ = rest_.substr(0, end);
  rest_ = end == std::string_view::npos ? std::string_view{} : rest_.substr(end + 1);
  if (line_.ends_with('\r')) line_.remove_suffix(1);
  if (const size_t bad = find_invalid_utf8(line_); bad != std::string_view::npos) refuse_byte(line_, bad, where());
  return true;
}

bool LineReader::at_blank_end() const {
  return line_.empty() && rest_.find_first_not_of("\r\n") == std::string_view::npos;
}

std::string LineReader::where() const { return fmt::format("{}:{}", name_, number_); }

}  // namespace crisp
