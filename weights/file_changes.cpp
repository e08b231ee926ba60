#include "weights/file_changes.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>

#include "engine/fail.h"
#include "weights/atomic_file.h"
#include "weights/file_calls.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;

void sync_path(const std::string& path, int more_flags) {
  const int fd = file_calls::uninterrupted(
      [&] { return file_calls::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | more_flags); });
  if (fd < 0) fail("{}: cannot be opened to flush it: {}", path, std::strerror(errno));
  const int error = flush_descriptor(fd) ? 0 : errno;
  (void)file_calls::close(fd);
  if (error != 0) fail("{}: cannot be flushed to the disk: {}", path, std::strerror(error));
}

bool is_real_directory(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

void copy_over(const std::string& from, const std::string& to) {
  const int fd = ::open(from.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail("{}: cannot be opened: {}", from, std::strerror(errno));
  struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
  } const closer{fd};
  AtomicFile copy(to);
  std::vector<std::byte> buffer(size_t{1} << 20);
  for (;;) {
    const ssize_t n = file_calls::uninterrupted([&] { return ::read(fd, buffer.data(), buffer.size()); });
    if (n < 0) fail("{}: cannot be read: {}", from, std::strerror(errno));
    if (n == 0) break;
    copy.write(std::span(buffer).first(static_cast<size_t>(n)));
  }
  copy.commit();
}

}  // namespace

bool flush_descriptor(int fd) {
  return file_calls::uninterrupted([&] { return file_calls::fsync(fd); }) == 0 || errno == EINVAL || errno == ENOTSUP ||
         errno == ENOSYS;
}

void sync_directory(const std::string& directory) { sync_path(directory, O_DIRECTORY); }

void sync_tree(const std::string& root) {
  for (const std::string& name : entries_of(root)) {
    const std::string path = root + "/" + name;
    const fs::file_status status = fs::symlink_status(path);
    if (fs::is_directory(status))
      sync_tree(path);
    else if (fs::is_regular_file(status))
      sync_path(path, O_NOFOLLOW);
    else
      fail("{}: is neither a file nor a directory", path);
  }
  sync_directory(root);
}

void rename_entry(const std::string& from, const std::string& to) {
  if (file_calls::rename(from.c_str(), to.c_str()) != 0)
    fail("{}: cannot be renamed to {}: {}", from, to, std::strerror(errno));
}

bool exchange_entries(const std::string& a, const std::string& b) {
  return file_calls::exchange(a.c_str(), b.c_str()) == 0;
}

void link_over(const std::string& from, const std::string& to) {
  std::error_code ignored;
  if (fs::equivalent(from, to, ignored)) return;  // then rename would do nothing
  const std::string temporary = temporary_name(to);
  if (file_calls::link(from.c_str(), temporary.c_str()) != 0) return copy_over(from, to);
  try {
    rename_entry(temporary, to);
  } catch (...) {
    (void)file_calls::unlink(temporary.c_str());
    throw;
  }
}

void remove_file(const std::string& path) {
  if (file_calls::unlink(path.c_str()) == 0 || errno == ENOENT) return;
  const int error = errno;
  if (error == EROFS && !entry_exists(path)) return;  // a file system that is read-only says so of that, too
  fail("{}: cannot be removed: {}", path, std::strerror(error));
}

void remove_tree(const std::string& path) {
  if (!is_real_directory(path)) return remove_file(path);
  for (const std::string& name : entries_of(path)) remove_tree(path + "/" + name);
  if (file_calls::rmdir(path.c_str()) != 0 && errno != ENOENT)
    fail("{}: cannot be removed: {}", path, std::strerror(errno));
}

void make_directory(const std::string& path) {
  if (file_calls::mkdir(path.c_str(), 0777) != 0) fail("{}: cannot be created: {}", path, std::strerror(errno));
}

void make_directories(const std::string& path) {
  with_directories(path, [] {});
}

void with_directories(const std::string& path, const std::function<void()>& use) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return use();
  const std::string parent = parent_directory(path);
  const auto make_and_use = [&] {
    if (file_calls::mkdir(path.c_str(), 0777) != 0) {
      const int error = errno;
      // Another process may have been faster.
      if (!fs::is_directory(path, ignored)) fail("{}: cannot be created: {}", path, std::strerror(error));
      return use();
    }
    try {
      sync_directory(parent);
      use();
    } catch (...) {
      (void)file_calls::rmdir(path.c_str());
      throw;
    }
  };
  if (entry_exists(parent)) return make_and_use();
  with_directories(parent, make_and_use);
}

bool entry_exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

uint64_t disk_bytes_of(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return 0;
  uint64_t bytes = static_cast<uint64_t>(status.st_blocks) * 512;  // of 512 bytes on Linux, whatever the file system's
  if (!S_ISDIR(status.st_mode)) return bytes / std::max<uint64_t>(status.st_nlink, 1);
  for (const std::string& name : entries_of(path)) bytes += disk_bytes_of(path + "/" + name);
  return bytes;
}

std::vector<std::string> entries_of(const std::string& directory) {
  // libstdc++'s directory_iterator ends the process where there is no memory for it.
  struct Close {
    void operator()(DIR* listed) const { ::closedir(listed); }
  };
  const std::unique_ptr<DIR, Close> listed(::opendir(directory.c_str()));
  std::vector<std::string> names;
  errno = listed ? 0 : errno;
  while (const dirent* const entry = listed ? ::readdir(listed.get()) : nullptr) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  if (errno != 0) fail("{}: cannot be listed: {}", directory, std::strerror(errno));
  std::sort(names.begin(), names.end());
  return names;
}

std::string parent_directory(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace crisp
