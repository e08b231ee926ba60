#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

namespace crisp::fuzz {

MemoryFile::MemoryFile(std::string_view content) : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) {
  require(fd_ >= 0, "no file in memory");
  while (!content.empty()) {
    const ssize_t n = ::write(fd_, content.data(), content.size());
    require(n > 0, "a file in memory cannot be written");
    content.remove_prefix(static_cast<size_t>(n));
  }
}

MemoryFile::~MemoryFile() { ::close(fd_); }

std::string MemoryFile::path() const { return fmt::format("/proc/self/fd/{}", fd_); }

}  // namespace crisp::fuzz
