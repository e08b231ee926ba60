// Checkpoints on disk: directories "checkpoint-STEP" that are complete or absent, whatever happens while they are
// written. The files are written to a temporary directory and flushed, a manifest with sizes and SHA-256 hashes comes
// last, then the directory is renamed.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace crisp {

struct Checkpoint {
  std::string path;
  int64_t step = 0;
};

class CheckpointStore {
 public:
  /// `directory` exists. Finishes or removes what an interrupted save or removal left. Throws Error.
  explicit CheckpointStore(std::string directory);

  /// Calls write(temporary_directory), which writes the checkpoint's files there, then makes them the checkpoint of
  /// `step` (>= 0) and returns its path. One that is there already is replaced; a directory of its name without our
  /// manifest is not ours to delete and is renamed "checkpoint-STEP.set-aside-N". Throws Error (disk full, ...) or what
  /// `write` throws; then all earlier checkpoints are as they were.
  std::string save(int64_t step, const std::function<void(const std::string& directory)>& write);

  /// Removes all but the newest `keep_last` and those of the steps in `keep`. Touches no directory without our manifest
  /// and no file that a manifest does not list. Checkpoints of later steps than the last save (damaged ones that a
  /// resume passed over) do not count; they are replaced when training reaches their step. Throws Error.
  void prune(size_t keep_last, const std::vector<int64_t>& keep = {});

  /// The newest checkpoint whose every file has the size and hash of the manifest; nullopt where there is no checkpoint
  /// at all. Of each newer one that is damaged a line (path: reason) is appended to `damaged`. Throws BadInput when
  /// there are checkpoints and all of them are damaged: starting afresh would be a surprise.
  std::optional<Checkpoint> newest_valid(std::vector<std::string>* damaged = nullptr) const;

  /// All, by ascending step, valid or not.
  std::vector<Checkpoint> list() const;

  /// The checkpoints have been moved there.
  void follow(const std::string& directory) { directory_ = directory; }

 private:
  std::string directory_;
  int64_t last_saved_ = -1;
};

/// Why the checkpoint cannot be used ("model.safetensors: 12 bytes, not 4096"); empty when it is valid.
std::string checkpoint_damage(const Checkpoint& checkpoint);

/// Whether a directory has a manifest that we wrote.
bool is_our_checkpoint(const std::string& directory);

/// Deletes a checkpoint: the files of its manifest, the manifest, and the directory if then empty. Throws Error.
void remove_checkpoint(const std::string& path);

/// Finishes or removes what an interrupted save or removal left in `directory`. Throws Error.
void remove_unfinished_checkpoints(const std::string& directory);

/// All "checkpoint-STEP" directories of `directory`, by ascending step, ours or not.
std::vector<Checkpoint> list_checkpoints(const std::string& directory);

}  // namespace crisp
