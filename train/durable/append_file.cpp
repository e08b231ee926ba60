#include "train/durable/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/fail.h"
#include "weights/file_calls.h"
#include "weights/file_changes.h"

namespace crisp {

AppendFile::AppendFile(std::string path, Open how) : path_(std::move(path)) {
  const int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | (how == Open::create_new ? O_EXCL : 0);
  fd_ = file_calls::uninterrupted([&] { return file_calls::open(path_.c_str(), flags, 0666); });
  if (fd_ < 0) {
    if (how == Open::create_new && errno == EEXIST) return;
    fail_with(errno, "cannot be opened for writing");
  }
  struct stat status {};
  const int error = ::fstat(fd_, &status) == 0 ? 0 : errno;
  if (error != 0 || !S_ISREG(status.st_mode)) {
    file_calls::close(std::exchange(fd_, -1));
    if (error != 0) fail_with(error, "cannot be examined");
    fail("{}: cannot be written: it is not a regular file", path_);
  }
  bytes_ = static_cast<uint64_t>(status.st_size);
}

AppendFile::~AppendFile() {
  if (fd_ >= 0) file_calls::close(fd_);
}

void AppendFile::fail_with(int error, const char* doing) const {
  fail("{}: {}: {}", path_, doing, std::strerror(error));
}

void AppendFile::truncate(uint64_t bytes) {
  if (file_calls::uninterrupted([&] { return file_calls::ftruncate(fd_, bytes); }) != 0)
    fail_with(errno, "cannot be cut back");
  bytes_ = bytes;
}

uint64_t AppendFile::whole_lines(uint64_t limit) const {
  char buffer[4096];
  for (uint64_t end = limit < bytes_ ? limit : bytes_; end > 0;) {
    const size_t n = end < sizeof buffer ? static_cast<size_t>(end) : sizeof buffer;
    end -= n;
    const ssize_t got = file_calls::uninterrupted([&] { return ::pread(fd_, buffer, n, static_cast<off_t>(end)); });
    if (got < 0) fail_with(errno, "cannot be read");
    if (static_cast<size_t>(got) < n) fail("{}: became shorter while it was read", path_);
    const size_t newline = std::string_view(buffer, n).rfind('\n');
    if (newline != std::string_view::npos) return end + newline + 1;
  }
  return 0;
}

void AppendFile::append(std::string_view record) {
  for (size_t done = 0; done < record.size();) {
    const ssize_t n =
        file_calls::uninterrupted([&] { return file_calls::write(fd_, record.data() + done, record.size() - done); });
    if (n < 0) {
      const int error = errno;
      // Half a record would make the next one unreadable, too.
      if (done > 0) (void)file_calls::ftruncate(fd_, bytes_);
      fail_with(error, "cannot be written");
    }
    done += static_cast<size_t>(n);
  }
  bytes_ += record.size();
}

void AppendFile::sync() {
  if (!flush_descriptor(fd_)) fail_with(errno, "cannot be flushed to the disk");
}

}  // namespace crisp
