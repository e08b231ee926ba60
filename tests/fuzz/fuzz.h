// What the fuzz targets share. Each defines LLVMFuzzerTestOneInput: libFuzzer calls it where clang links that,
// replay.cpp elsewhere. A target may throw BadInput or UsageError, which is how strangers' input is refused; any other
// exception, signal or sanitizer report is a finding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/error.h"

namespace crisp::fuzz {

/// Calls use(text) with the input and swallows its refusal, whose message must be a line or two that a terminal can
/// show.
template <class Use>
int refused_or_right(const uint8_t* data, size_t size, Use use) {
  const auto check = [](std::string_view message) {
    for (const char c : message) {
      const auto byte = static_cast<unsigned char>(c);
      if ((byte < 0x20 && c != '\n') || byte == 0x7F) {
        std::fprintf(stderr, "a message holds the control character 0x%02x\n", byte);
        std::abort();
      }
    }
  };
  try {
    use(std::string_view(reinterpret_cast<const char*>(data), size));
  } catch (const BadInput& error) {
    check(error.what());
  } catch (const UsageError& error) {
    check(error.what());
  }
  return 0;
}

/// Ends the process where a property of the result does not hold.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
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

}  // namespace crisp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
