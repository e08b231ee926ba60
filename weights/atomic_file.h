// Files that are either the old one or the complete new one, never a part: written beside their final place, flushed to
// the disk, then renamed over it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/file_changes.h"

namespace crisp {

/// Who makes a new file survive a power failure.
enum class Flush : uint8_t {
  now,        // the function that writes it: the content before the file takes its name, then the name
  content,    // as now, but the name with whatever flushes the directory next
  by_caller,  // a sync_tree() of the directory, which nobody reads before
};

/// Collects a file's new content in a temporary file of the same directory (".NAME.tmp-PID-N"). Every failure is an
/// Error naming the path; until commit() has returned, the old file is what others see. The destructor removes the
/// temporary file of an uncommitted write. A process that is killed leaves it (remove_temporary_files).
class AtomicFile {
 public:
  /// Throws Error when `path` exists and is no regular file, or its directory cannot be written.
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Whoever may read the file may run it, too. Throws Error.
  void make_executable();
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// fsync, rename, fsync of the directory, less what `flush` leaves to others. A symbolic link at `path` is replaced,
  /// what it points to is not touched.
  void commit(Flush flush = Flush::now);

 private:
  [[noreturn]] void fail_with(int error, const char* doing) const;

  bool replaces_ = false;  // a file that is there
  std::string path_;
  std::string temporary_;  // empty once there is nothing to remove
  int fd_ = -1;
};

/// The whole of it for content at hand.
void write_file_atomically(const std::string& path, std::string_view content, Flush flush = Flush::now);

/// A free name ".NAME.tmp-PID-N" beside `path`.
std::string temporary_name(const std::string& path);
/// Removes files of names that temporary_name() makes for one of `names`, which a killed process has left. For who
/// knows that nobody is writing them. Throws Error.
void remove_temporary_files(const std::string& directory, const std::vector<std::string>& names);

}  // namespace crisp
