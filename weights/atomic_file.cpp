#include "weights/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "engine/fail.h"
#include "weights/file_calls.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;

// Clipped, so that a long name does not grow past the file system's limit.
std::string temporary_prefix(const std::string& name) { return fmt::format(".{}.tmp-", name.substr(0, 100)); }

// Whether temporary_name() makes this for a file `name`.
bool is_temporary_name(std::string_view entry, const std::string& name) {
  const std::string prefix = temporary_prefix(name);
  return entry.starts_with(prefix) &&
         std::all_of(entry.begin() + static_cast<std::ptrdiff_t>(prefix.size()), entry.end(),
                     [](char c) { return c == '-' || (c >= '0' && c <= '9'); });
}

}  // namespace

std::string temporary_name(const std::string& path) {
  static std::atomic<unsigned> counter{0};
  const size_t name = path.rfind('/') + 1;  // 0 without a slash
  std::string temporary;
  do {
    temporary =
        fmt::format("{}{}{}-{}", path.substr(0, name), temporary_prefix(path.substr(name)), ::getpid(), counter++);
  } while (entry_exists(temporary));
  return temporary;
}

void remove_temporary_files(const std::string& directory, const std::vector<std::string>& names) {
  for (const std::string& entry : entries_of(directory)) {
    const std::string path = directory + "/" + entry;
    std::error_code ignored;
    if (std::any_of(names.begin(), names.end(), [&](const auto& name) { return is_temporary_name(entry, name); }) &&
        fs::is_regular_file(fs::symlink_status(path, ignored)))
      remove_file(path);
  }
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  struct stat status {};
  replaces_ = ::stat(path_.c_str(), &status) == 0;
  if (replaces_ && !S_ISREG(status.st_mode)) {
    fail("{}: cannot be written: it exists and is not a regular file", path_);
  }
  do {
    temporary_ = temporary_name(path_);
    fd_ = file_calls::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd_ < 0 && (errno == EEXIST || errno == EINTR));
  if (fd_ < 0) {
    const int error = errno;
    temporary_.clear();
    fail_with(error, "cannot be created");
  }
  // The new file takes over the permissions of the one it replaces. Where that is not allowed, the umask's do.
  if (replaces_) (void)file_calls::fchmod(fd_, status.st_mode & 07777);
}

void AtomicFile::make_executable() {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) fail_with(errno, "cannot be made executable");
  const mode_t readable = status.st_mode & (S_IRUSR | S_IRGRP | S_IROTH);
  if (file_calls::fchmod(fd_, (status.st_mode & 07777) | readable >> 2) != 0)
    fail_with(errno, "cannot be made executable");
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) file_calls::close(fd_);
  if (!temporary_.empty()) file_calls::unlink(temporary_.c_str());
}

void AtomicFile::fail_with(int error, const char* doing) const {
  fail("{}: {}: {}{}", path_, doing, std::strerror(error), replaces_ ? "; the file that is there is unchanged" : "");
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (fd_ < 0) fail("{}: write after commit", path_);
  while (!bytes.empty()) {
    const ssize_t n = file_calls::uninterrupted([&] { return file_calls::write(fd_, bytes.data(), bytes.size()); });
    if (n < 0) fail_with(errno, "cannot be written");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

void AtomicFile::commit(Flush flush) {
  if (fd_ < 0) fail("{}: committed twice", path_);
  if (flush != Flush::by_caller && !flush_descriptor(fd_)) fail_with(errno, "cannot be flushed to the disk");
  // On network file systems the last chance to hear of a failed write.
  if (file_calls::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) fail_with(errno, "cannot be closed");
  if (file_calls::rename(temporary_.c_str(), path_.c_str()) != 0) fail_with(errno, "cannot be put in place");
  temporary_.clear();
  if (flush == Flush::now) sync_directory(parent_directory(path_));
}

void write_file_atomically(const std::string& path, std::string_view content, Flush flush) {
  AtomicFile file(path);
  file.write(content);
  file.commit(flush);
}

}  // namespace crisp
