#include "train/checkpoint_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "engine/error.h"
#include "engine/parse_text.h"
#include "train/checkpoint_manifest.h"
#include "weights/atomic_file.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view checkpoint_prefix = "checkpoint-";
constexpr std::string_view saving_prefix = ".saving-checkpoint-";
constexpr std::string_view removing_prefix = ".removing-checkpoint-";

std::string name_of_step(int64_t step) { return fmt::format("{}{}", checkpoint_prefix, step); }

// The step of "checkpoint-500"; -1 for any other name ("checkpoint-best", "checkpoint-0500").
int64_t step_of_name(std::string_view name) {
  if (!name.starts_with(checkpoint_prefix)) return -1;
  const std::optional<int64_t> step = parse_number<int64_t>(name.substr(checkpoint_prefix.size()));
  return step && *step >= 0 && name == name_of_step(*step) ? *step : -1;
}

void rename_or_fail(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    fail("{}: cannot be renamed to {}: {}", from, to, std::strerror(errno));
  }
}

void remove_tree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) fail("{}: cannot be removed: {}", path, error.message());
}

void flush_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) fail("{}: cannot be opened to flush it: {}", path, std::strerror(errno));
  int result;
  do {
    result = ::fsync(fd);
  } while (result != 0 && errno == EINTR);
  const int error = result == 0 ? 0 : errno;
  ::close(fd);
  if (error != 0) fail("{}: cannot be flushed to the disk: {}", path, std::strerror(error));
}

// Flushes every file and directory below `root`; the manifest then speaks about what is on the disk.
void flush_tree(const std::string& root) {
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root)) {
    const fs::file_status status = entry.symlink_status();
    if (fs::is_directory(status)) {
      sync_directory(entry.path().string());
    } else if (fs::is_regular_file(status)) {
      flush_file(entry.path().string());
    } else {
      fail("{}: a checkpoint holds files and directories only", entry.path().string());
    }
  }
}

// Puts the finished directory in place of whatever is at `final_path`.
void put_in_place(const std::string& temporary, const std::string& final_path, const std::string& removing) {
  if (entry_exists(final_path) && !is_our_checkpoint(final_path)) {
    int n = 1;
    while (entry_exists(fmt::format("{}.set-aside-{}", final_path, n))) ++n;
    rename_or_fail(final_path, fmt::format("{}.set-aside-{}", final_path, n));
  }
  if (!entry_exists(final_path)) {
    rename_or_fail(temporary, final_path);
    return;
  }
  // Swapping leaves no moment without a checkpoint of this step. Not every file system can.
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, final_path.c_str(), RENAME_EXCHANGE) == 0) {
    rename_or_fail(temporary, removing);
  } else {
    rename_or_fail(final_path, removing);
    rename_or_fail(temporary, final_path);
  }
  remove_tree(removing);
}

}  // namespace

std::vector<Checkpoint> list_checkpoints(const std::string& directory) {
  std::vector<Checkpoint> found;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const int64_t step = step_of_name(it->path().filename().string());
    std::error_code ignored;
    if (step >= 0 && fs::is_directory(it->symlink_status(ignored))) found.push_back({it->path().string(), step});
  }
  if (error) fail("{}: cannot be listed: {}", directory, error.message());
  std::sort(found.begin(), found.end(), [](const Checkpoint& a, const Checkpoint& b) { return a.step < b.step; });
  return found;
}

void remove_unfinished_checkpoints(const std::string& directory) {
  std::vector<std::string> leftovers;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(saving_prefix) || name.starts_with(removing_prefix)) leftovers.push_back(it->path().string());
  }
  if (error) fail("{}: cannot be listed: {}", directory, error.message());
  for (const std::string& path : leftovers) remove_tree(path);
}

void remove_checkpoint(const std::string& path) {
  const std::optional<Manifest> manifest = read_manifest(path);
  if (!manifest) fail("{}: not removed: it has no manifest of ours", path);
  const std::vector<std::string> foreign = unlisted_files(path, *manifest);
  if (foreign.empty()) {
    // The name goes first, so that a half-removed directory is never taken for a damaged checkpoint.
    const std::string parent = parent_directory(path);
    const std::string removing = fmt::format("{}/{}{}", parent, removing_prefix, fs::path(path).filename().string());
    if (entry_exists(removing)) remove_tree(removing);
    rename_or_fail(path, removing);
    remove_tree(removing);
    sync_directory(parent);
    return;
  }
  for (const auto& [name, file] : manifest->files) {
    if (::unlink((path + "/" + name).c_str()) != 0 && errno != ENOENT) {
      fail("{}/{}: cannot be removed: {}", path, name, std::strerror(errno));
    }
  }
  const std::string manifest_path = path + "/" + manifest_name;
  if (::unlink(manifest_path.c_str()) != 0) fail("{}: cannot be removed: {}", manifest_path, std::strerror(errno));
}

CheckpointStore::CheckpointStore(std::string directory) : directory_(std::move(directory)) {
  remove_unfinished_checkpoints(directory_);
}

std::string CheckpointStore::save(int64_t step, const std::function<void(const std::string& directory)>& write) {
  if (step < 0) fail("a checkpoint's step is at least 0, not {}", step);
  const std::string final_path = directory_ + "/" + name_of_step(step);
  const std::string temporary = fmt::format("{}/{}{}", directory_, saving_prefix, step);
  const std::string removing = fmt::format("{}/{}{}", directory_, removing_prefix, step);
  try {
    if (entry_exists(temporary)) remove_tree(temporary);
    if (entry_exists(removing)) remove_tree(removing);
    fs::create_directory(temporary);
    write(temporary);
    flush_tree(temporary);
    write_file_atomically(temporary + "/" + manifest_name, format_manifest(make_manifest(temporary, step)));
    sync_directory(temporary);
    put_in_place(temporary, final_path, removing);
    sync_directory(directory_);
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    const auto* io = dynamic_cast<const fs::filesystem_error*>(&error);
    if (io == nullptr && dynamic_cast<const Error*>(&error) == nullptr) throw;
    fail("the checkpoint of step {} could not be saved: {}\nEarlier checkpoints in {} are intact.", step,
         io ? fmt::format("{}: {}", io->path1().string(), io->code().message()) : error.what(), directory_);
  }
  last_saved_ = step;
  return final_path;
}

void CheckpointStore::prune(size_t keep_last, const std::vector<int64_t>& keep) {
  std::vector<Checkpoint> all = list();
  std::erase_if(all, [&](const Checkpoint& c) {
    return (last_saved_ >= 0 && c.step > last_saved_) || !is_our_checkpoint(c.path);
  });
  for (size_t i = 0; i + keep_last < all.size(); ++i) {
    if (std::find(keep.begin(), keep.end(), all[i].step) == keep.end()) remove_checkpoint(all[i].path);
  }
}

std::optional<Checkpoint> CheckpointStore::newest_valid(std::vector<std::string>* damaged) const {
  std::vector<Checkpoint> all = list();
  std::string reasons;
  for (auto it = all.rbegin(); it != all.rend(); ++it) {
    const std::string reason = checkpoint_damage(*it);
    if (reason.empty()) return *it;
    const std::string line = fmt::format("{}: {}", it->path, reason);
    if (damaged != nullptr) damaged->push_back(line);
    reasons += "\n  " + line;
  }
  if (all.empty()) return std::nullopt;
  fail<BadInput>("{}: no checkpoint is usable; --overwrite starts afresh{}", directory_, reasons);
}

std::vector<Checkpoint> CheckpointStore::list() const { return list_checkpoints(directory_); }

}  // namespace crisp
