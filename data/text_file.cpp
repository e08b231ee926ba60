#include "data/text_file.h"

#include "data/input/text.h"
#include "engine/error.h"

namespace crisp {

bool LineReader::next() {
  if (rest_.empty()) return false;
  ++number_;
  const size_t end = rest_.find('\n');
  line_ = rest_.substr(0, end);
  rest_ = end == std::string_view::npos ? std::string_view{} : rest_.substr(end + 1);
  if (line_.ends_with('\r')) line_.remove_suffix(1);
  const size_t bad = find_invalid_utf8(line_);
  if (bad != std::string_view::npos) {
    fail<BadInput>("{}: byte {} of the line (0x{:02X}) is not valid UTF-8; save the file as UTF-8", where(), bad + 1,
                   static_cast<unsigned char>(line_[bad]));
  }
  return true;
}

std::string LineReader::where() const { return fmt::format("{}:{}", name_, number_); }

}  // namespace crisp
