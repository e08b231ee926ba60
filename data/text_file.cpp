#include "data/text_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include "data/unicode.h"
#include "engine/error.h"

namespace crisp {

std::string read_text_file(const std::string& path) {
  if (std::filesystem::is_directory(path)) fail<BadInput>("{}: is a directory, expected a file", path);
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) fail<BadInput>("{}: cannot be opened: {}", path, std::strerror(errno));
  std::string content;
  for (size_t chunk = 1 << 16;;) {
    const size_t before = content.size();
    content.resize(before + chunk);
    const size_t got = std::fread(content.data() + before, 1, chunk, file.get());
    content.resize(before + got);
    if (got < chunk) break;
    chunk = content.size();
  }
  if (std::ferror(file.get())) fail<BadInput>("{}: cannot be read: {}", path, std::strerror(errno));
  return content;
}

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
