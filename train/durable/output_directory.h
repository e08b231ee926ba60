// The directory that a run writes: made, locked, checked before the training starts, and never at the cost of files
// that no run of ours wrote.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "train/durable/lock_file.h"
#include "weights/published.h"

namespace crisp {

/// Locks a directory, by a file ".crisp.lock" in it, which is removed with the lock. Throws UsageError when another
/// process (or object) holds it, Error when the directory cannot be written.
LockFile lock_directory(const std::string& directory);

/// Throws Error, naming both amounts, when the file system of `path` has less than `bytes` free for this user. `what`
/// ("the run") needs them. Where the system does not know how much is free, nothing is asked for.
void require_free_space(const std::string& path, uint64_t bytes, const char* what);

/// Holds the output directory of one run; the lock is released by the destructor (or the death of the process).
///
/// The file "crisp_run.json" marks the directory as a run's and lists the names that the run may write. As a run
/// starts only where none of them exists, files of those names are the run's own and --overwrite may delete them.
/// A marker alone, without any of the files, is no run.
///
/// A run that is to replace another one (--overwrite) writes to ".crisp-new-run" in the directory, which is laid out
/// like the directory itself, until its first publication: with that, the former run's files go and its own move up.
class OutputDirectory {
 public:
  static constexpr const char* marker_name = run_marker_name;
  static constexpr const char* model_name = "model.safetensors";
  static constexpr const char* new_run_name = ".crisp-new-run";

  /// `files`: the names, without directory, that the run writes at the top level (checkpoints and event files need no
  /// mention). `inputs`: the files that the run has read. Creates `path` and its parents, and finishes what a killed
  /// process had begun there. Throws
  /// - UsageError, before anything is touched, when one of `inputs`, by whatever name or link, is a file that a run
  ///   here may delete or replace; when it holds a run and neither `resume` nor `overwrite` is set, or both are; when
  ///   it holds files of those names (or checkpoints) that no run of ours wrote; when another process is using it;
  /// - Error when it cannot be created or written.
  /// `overwrite` deletes an unpublished new run, but what the former run wrote at the first publish() only. `resume`
  /// goes on with an unpublished new run where there is one. `check` is called when the place of the run is known and
  /// nothing has been written or deleted. Where it throws, or anything else fails, the directories that were made are
  /// gone again.
  OutputDirectory(std::string path, const std::vector<std::string>& files, bool resume, bool overwrite,
                  const std::vector<std::string>& inputs = {},
                  const std::function<void(const OutputDirectory&)>& check = {});
  /// A new run that has left nothing goes without a trace.
  ~OutputDirectory();

  /// The directory as it was named.
  const std::string& root() const { return root_; }
  /// Where the run writes: root(), or below it until the first publication.
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  /// Another run is in root() and stays there until publish().
  bool replaces_run() const { return path_ != root_; }

  /// `resume` was set and a run is here. It may have been cut off before its first checkpoint: then, unless it has
  /// left a model, call clear().
  bool holds_run() const { return holds_run_; }
  /// While `check` runs: the room on the disk of an unpublished new run that goes when it has returned.
  uint64_t bytes_to_go() const { return bytes_to_go_; }
  /// There is a model at the top level.
  bool has_model() const;

  /// Calls write(directory), which writes the model and its results there, and makes them the ones at the top of root()
  /// as one (weights/publication.h). Where the run replaces another, that one goes: path() changes, and logs that
  /// are open have moved. Throws Error, or what `write` throws; then either nothing has changed for any reader, or
  /// readers find the new files and the next start finishes the rest.
  void publish(const std::function<void(const std::string& directory)>& write);

  /// Writes down what the run was asked for, an object as JSON text (RunMarker::settings). Throws Error.
  void describe(const std::string& settings) const;

  /// Deletes what the run here wrote (its listed files, checkpoints, event files), to start afresh. Throws Error.
  void clear();

 private:
  std::string choose_place(bool resume, bool overwrite);
  void finish_announced();
  void refuse_inputs(const std::vector<std::string>& files, const std::vector<std::string>& inputs) const;

  std::string root_, path_;
  LockFile lock_;
  std::vector<std::string> listed_;  // the names in the marker of path()
  bool holds_run_ = false;
  uint64_t bytes_to_go_ = 0;
};

/// "1.5 GB", "12 kB": decimal units.
std::string format_bytes(uint64_t bytes);

}  // namespace crisp
