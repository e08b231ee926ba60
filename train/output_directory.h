// The directory that a run writes: made, locked, checked before the training starts, and never at the cost of files
// that no run of ours wrote.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "train/lock_file.h"

namespace crisp {

/// A lock on a directory, by flock on a file ".crisp.lock" in it, which is removed with the lock.
class DirectoryLock {
 public:
  /// Throws UsageError when another process (or object) holds it, Error when the directory cannot be written.
  explicit DirectoryLock(const std::string& directory);

 private:
  LockFile lock_;
};

/// Throws Error, naming both amounts, when the file system of `path` has less than `bytes` free for this user. `what`
/// ("the run") needs them.
void require_free_space(const std::string& path, uint64_t bytes, const char* what);

/// Holds the output directory of one run; the lock is released by the destructor (or the death of the process).
///
/// The file "crisp_run.json" marks the directory as a run's and lists the names that the run may write. As a run
/// starts only where none of them exists, files of those names are the run's own and --overwrite may delete them.
/// A marker alone, without any of the files, is no run.
class OutputDirectory {
 public:
  static constexpr const char* marker_name = "crisp_run.json";
  static constexpr const char* model_name = "model.safetensors";

  /// `files`: the names, without directory, that the run writes at the top level (checkpoints and event files need no
  /// mention). `inputs`: the files that the run has read. Creates `path` and its parents. Throws
  /// - UsageError, before anything is touched, when one of `inputs`, by whatever name or link, is a file that a run
  ///   here may delete or replace; when it holds a run and neither `resume` nor `overwrite` is set, or both are; when
  ///   it holds files of those names (or checkpoints) that no run of ours wrote; when another process is using it;
  /// - Error when it cannot be created or written.
  /// `overwrite` deletes what the former run wrote.
  OutputDirectory(std::string path, const std::vector<std::string>& files, bool resume, bool overwrite,
                  const std::vector<std::string>& inputs = {});

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

  /// `resume` was set and a run is here. It may have been cut off before its first checkpoint: then, unless it has
  /// left a model, call clear().
  bool holds_run() const { return holds_run_; }
  /// There is a model at the top level.
  bool has_model() const;

  /// Deletes what the former run wrote (its listed files, checkpoints, event files), to start afresh. Throws Error.
  void clear();

  /// Throws Error, naming both amounts, when the file system has less than `bytes` free for this user.
  void require_free_space(uint64_t bytes) const { crisp::require_free_space(path_, bytes, "the run"); }

 private:
  bool has_run_files() const;
  bool has_our_checkpoints() const;
  void refuse_inputs(const std::vector<std::string>& files, const std::vector<std::string>& inputs) const;
  void refuse_foreign_files(const std::vector<std::string>& files, bool checkpoints_too) const;

  std::string path_;
  std::optional<DirectoryLock> lock_;
  std::vector<std::string> listed_;  // the names in the marker
  bool holds_run_ = false;
};

/// "1.5 GB", "12 kB": decimal units.
std::string format_bytes(uint64_t bytes);

}  // namespace crisp
