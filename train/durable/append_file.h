// A file that only grows, in whole records, and can be cut back to an earlier length when a run is resumed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace crisp {

/// The owner of a file opened for appending. Every failure is an Error naming the path.
class AppendFile {
 public:
  enum class Open : uint8_t {
    any,         // create it or open the one that is there
    create_new,  // is_open() is false when the name is taken
  };
  AppendFile(std::string path, Open how);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  bool is_open() const { return fd_ >= 0; }
  const std::string& path() const { return path_; }
  uint64_t bytes() const { return bytes_; }

  /// Cuts the file to `bytes`, which is at most bytes().
  void truncate(uint64_t bytes);
  /// The length of the longest prefix of the first `limit` bytes that ends in a newline (or is empty).
  uint64_t whole_lines(uint64_t limit) const;
  /// All of `record` or, when an Error is thrown, nothing of it.
  void append(std::string_view record);
  /// fsync.
  void sync();

 private:
  [[noreturn]] void fail_with(int error, const char* doing) const;

  std::string path_;
  int fd_ = -1;
  uint64_t bytes_ = 0;
};

}  // namespace crisp
