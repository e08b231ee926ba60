#include "data/input/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "data/input/text.h"
#include "engine/fail.h"

namespace crisp {
namespace {

// Why open() failed, for a person.
[[noreturn]] void refuse_to_open(const std::string& path, int error) {
  std::error_code none;
  if (error == ENOENT && std::filesystem::is_symlink(path, none)) {
    fail<BadInput>("{}: is a symbolic link to {}, which is not there", path,
                   printable(std::filesystem::read_symlink(path, none).string()));
  }
  fail<BadInput>("{}: cannot be opened: {}", path, std::strerror(error));
}

std::string_view kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

}  // namespace

InputFile::InputFile(const std::string& path, const InputFiles* files) : path_(path), files_(files) {
  if (files_) {
    const std::optional<uint64_t> size = files_->size(path);
    if (!size) fail<BadInput>("{}: is not among the files of the model", path);
    size_ = *size;
    return;
  }
  if (path.find('\0') != std::string::npos) fail<BadInput>("a file's name holds a NUL character");
  // O_NONBLOCK: opening a pipe without a writer would wait for ever. It means nothing for regular files.
  do fd_ = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) {
    // A socket cannot be opened at all, and a device perhaps not: say what it is.
    struct stat status {};
    const int error = errno;
    if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
      fail<BadInput>("{}: is {}, not a regular file", path, kind_of(status.st_mode));
    }
    refuse_to_open(path, error);
  }
  struct stat status {};
  const bool known = ::fstat(fd_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    const int error = errno;
    ::close(std::exchange(fd_, -1));
    if (!known) fail<BadInput>("{}: cannot be read: {}", path, std::strerror(error));
    fail<BadInput>("{}: is {}, not a regular file{}", path, kind_of(status.st_mode),
                   S_ISFIFO(status.st_mode) ? "; save what it brings as a file" : "");
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      files_(other.files_),
      size_(other.size_),
      position_(other.position_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(files_, other.files_);
  std::swap(size_, other.size_);
  std::swap(position_, other.position_);
  return *this;
}

InputFile::~InputFile() {
  if (fd_ >= 0) ::close(fd_);
}

size_t InputFile::read(std::span<std::byte> out) {
  if (files_) {
    out = out.first(static_cast<size_t>(std::min<uint64_t>(out.size(), size_ - position_)));
    if (!read_at(position_, out)) fail<BadInput>("{}: ends before the {} bytes that it was said to have", path_, size_);
    position_ += out.size();
    return out.size();
  }
  for (;;) {
    const ssize_t n = ::read(fd_, out.data(), out.size());
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR) fail<BadInput>("{}: cannot be read: {}", path_, std::strerror(errno));
  }
}

bool InputFile::read_at(uint64_t offset, std::span<std::byte> out) const {
  if (files_) {
    if (offset > size_ || out.size() > size_ - offset) return false;
    return out.empty() || files_->read_at(path_, offset, out);
  }
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail<BadInput>("{}: cannot be read: {}", path_, std::strerror(errno));
    if (n == 0) return false;
    out = out.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return true;
}

std::string read_input(const std::string& path, uint64_t limit, const InputFiles* files) {
  InputFile file(path, files);
  const auto refuse_size = [&] {
    fail<BadInput>("{}: is larger than the {} MiB that such a file may have", path, limit >> 20);
  };
  if (file.size() > limit) refuse_size();
  // Not by the size alone: a file may grow meanwhile, and those of /proc say 0.
  std::string content(static_cast<size_t>(file.size()) + 1, '\0');
  for (size_t done = 0;;) {
    const size_t got = file.read(std::as_writable_bytes(std::span(content).subspan(done)));
    done += got;
    if (done > limit) refuse_size();
    if (got == 0) {
      content.resize(done);
      return content;
    }
    if (done == content.size()) content.resize(2 * done);
  }
}

std::string read_input_or_empty(const std::string& path, uint64_t limit) try {
  return read_input(path, limit);
} catch (const BadInput&) {
  return "";
}

bool input_exists(const std::string& path, const InputFiles* files) {
  if (files) return files->size(path).has_value();
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

}  // namespace crisp
