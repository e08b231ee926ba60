#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>

#include "tests/fuzz/fuzz.h"

namespace crisp::fuzz {
namespace {

namespace fs = std::filesystem;

void write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    require(n > 0, "a file in memory cannot be written");
    content.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace

MemoryFile::MemoryFile(std::string_view content) : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) {
  require(fd_ >= 0, "no file in memory");
  write_all(fd_, content);
}

MemoryFile::~MemoryFile() { ::close(fd_); }

std::string MemoryFile::path() const { return fmt::format("/proc/self/fd/{}", fd_); }

MemoryDirectory::MemoryDirectory() {
  std::error_code none;
  const fs::path memory = "/dev/shm";
  path_ = ((fs::is_directory(memory, none) ? memory : fs::temp_directory_path()) / "crisp-fuzz-XXXXXX").string();
  require(::mkdtemp(path_.data()) != nullptr, "no directory in memory");
}

MemoryDirectory::~MemoryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void MemoryDirectory::write(const std::string& name, std::string_view content) const {
  const std::string path = path_ + "/" + name;
  if (name.find('/') != std::string::npos) fs::create_directories(fs::path(path).parent_path());
  const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
  require(fd >= 0, "a file in memory cannot be made");
  write_all(fd, content);
  ::close(fd);
}

}  // namespace crisp::fuzz
