// Changes of directories, each an Error naming the path when it fails. None survives a power failure by itself: that is
// what sync_directory() is for.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace crisp {

/// fsync of an open file or directory; false, with errno, when it failed. File systems that have nothing to flush, and
/// say so, count as flushed.
bool flush_descriptor(int fd);

/// Makes the entries of a directory (new, renamed or removed files) survive a power failure.
void sync_directory(const std::string& directory);
/// Flushes every file and directory below `root`, and itself. Anything else in it is an Error.
void sync_tree(const std::string& root);

void rename_entry(const std::string& from, const std::string& to);
/// Exchanges two entries at once; false where the file system cannot.
bool exchange_entries(const std::string& a, const std::string& b);
/// Puts the file `from` at `to`, too, in place of what is there: at once, and without a copy where the file system
/// has hard links.
void link_over(const std::string& from, const std::string& to);
/// Absent is no error.
void remove_file(const std::string& path);
/// With everything below it; links are removed, not followed. Absent is no error.
void remove_tree(const std::string& path);
/// The room on the disk that a directory takes with everything below it; of a file with several names, each counts for
/// its share.
uint64_t disk_bytes_of(const std::string& path);
/// Makes one; not flushed.
void make_directory(const std::string& path);
/// Makes it with its parents, each flushed into the directory that holds it; those that are there stay. Where that
/// fails those that were made go again.
void make_directories(const std::string& path);
/// The same, then use(). What that throws is thrown, and the directories that were made go again, but for one that is
/// not empty.
void with_directories(const std::string& path, const std::function<void()>& use);

/// Whether there is anything of this name; a link counts, wherever it leads.
bool entry_exists(const std::string& path);
/// The names in a directory, sorted.
std::vector<std::string> entries_of(const std::string& directory);
/// "a/b" for "a/b/c", "." for "c", "/" for "/c".
std::string parent_directory(const std::string& path);

}  // namespace crisp
