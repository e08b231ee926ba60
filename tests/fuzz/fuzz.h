// What the fuzz targets share. Each defines LLVMFuzzerTestOneInput: libFuzzer calls it where clang links that,
// replay.cpp elsewhere. A target may throw BadInput or UsageError, which is how strangers' input is refused; any other
// exception, signal or sanitizer report is a finding.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/error.h"

namespace crisp::fuzz {

/// Ends the process where a property of the result does not hold.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

/// What a terminal is shown: lines without control characters.
inline void require_printable(std::string_view message) {
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte >= 0x20 || c == '\n') && byte != 0x7F) continue;
    std::fprintf(stderr, "a message holds the control character 0x%02x\n", byte);
    std::abort();
  }
}

/// Calls use(text) with the input and swallows its refusal, whose message must be printable.
template <class Use>
int refused_or_right(const uint8_t* data, size_t size, Use use) {
  try {
    use(std::string_view(reinterpret_cast<const char*>(data), size));
  } catch (const BadInput& error) {
    require_printable(error.what());
  } catch (const UsageError& error) {
    require_printable(error.what());
  }
  return 0;
}

/// The parts of an input that stands for several files, with the byte 0x1E between them; those that lack are empty, and
/// what would be one more belongs to the last.
template <size_t n>
std::array<std::string_view, n> parts(std::string_view input) {
  std::array<std::string_view, n> result;
  for (size_t i = 0; i < n && !input.empty(); ++i) {
    const size_t end = i + 1 < n ? input.find('\x1E') : std::string_view::npos;
    result[i] = input.substr(0, end);
    input.remove_prefix(end == std::string_view::npos ? input.size() : end + 1);
  }
  return result;
}

/// A file in memory with this content, for readers that want a path. It lives as long as the object.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view content);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const;

 private:
  int fd_;
};

/// A directory in memory (where the system has one there), for readers that want several files. It lives as long as the
/// object.
class MemoryDirectory {
 public:
  MemoryDirectory();
  ~MemoryDirectory();
  MemoryDirectory(const MemoryDirectory&) = delete;
  MemoryDirectory& operator=(const MemoryDirectory&) = delete;
  const std::string& path() const { return path_; }
  /// A file, and the directories above it that `name` speaks of.
  void write(const std::string& name, std::string_view content) const;

 private:
  std::string path_;
};

}  // namespace crisp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
