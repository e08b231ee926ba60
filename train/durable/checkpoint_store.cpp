#include "train/durable/checkpoint_store.h"

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "data/input/parse_text.h"
#include "engine/fail.h"
#include "train/durable/checkpoint_manifest.h"
#include "weights/atomic_file.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view checkpoint_prefix = "checkpoint-";
constexpr std::string_view saving_prefix = ".saving-checkpoint-";
constexpr std::string_view removing_prefix = ".removing-checkpoint-";
constexpr std::string_view replaced_prefix = ".replaced-checkpoint-";

std::string name_of_step(int64_t step) { return fmt::format("{}{}", checkpoint_prefix, step); }

std::string path_of_step(const std::string& directory, std::string_view prefix, int64_t step) {
  return fmt::format("{}/{}{}", directory, prefix, step);
}

// The step of "checkpoint-500"; -1 for any other name ("checkpoint-best", "checkpoint-0500").
int64_t step_of_name(std::string_view name) {
  if (!name.starts_with(checkpoint_prefix)) return -1;
  const std::optional<int64_t> step = parse_number<int64_t>(name.substr(checkpoint_prefix.size()));
  return step && *step >= 0 && name == name_of_step(*step) ? *step : -1;
}

// Puts the finished directory in place of whatever is at `final_path`. What was there of ours goes when the new one is
// certain to stay.
void put_in_place(const std::string& temporary, const std::string& final_path, const std::string& replaced) {
  if (entry_exists(final_path) && !is_our_checkpoint(final_path)) {
    int n = 1;
    while (entry_exists(fmt::format("{}.set-aside-{}", final_path, n))) ++n;
    rename_entry(final_path, fmt::format("{}.set-aside-{}", final_path, n));
  }
  const std::string directory = parent_directory(final_path);
  if (!entry_exists(final_path)) {
    rename_entry(temporary, final_path);
    sync_directory(directory);
    return;
  }
  // Swapping leaves no moment without a checkpoint of this step. Where the file system cannot, the next start finishes
  // what was cut off between the two names (finish_replacement).
  if (exchange_entries(temporary, final_path)) {
    rename_entry(temporary, replaced);
  } else {
    rename_entry(final_path, replaced);
    rename_entry(temporary, final_path);
  }
  sync_directory(directory);
  remove_tree(replaced);
}

// A process ended while it put checkpoint-STEP in place of an earlier one of the same step, by two renames.
void finish_replacement(const std::string& directory, int64_t step) {
  const std::string final_path = path_of_step(directory, checkpoint_prefix, step);
  const std::string saving = path_of_step(directory, saving_prefix, step);
  const std::string replaced = path_of_step(directory, replaced_prefix, step);
  if (entry_exists(final_path) || !entry_exists(replaced)) return;
  rename_entry(checkpoint_damage({saving, step}).empty() ? saving : replaced, final_path);
  sync_directory(directory);
}

}  // namespace

std::vector<Checkpoint> list_checkpoints(const std::string& directory) {
  std::vector<Checkpoint> found;
  for (const std::string& name : entries_of(directory)) {
    const Checkpoint entry{directory + "/" + name, step_of_name(name)};
    std::error_code ignored;
    if (entry.step >= 0 && fs::is_directory(fs::symlink_status(entry.path, ignored))) found.push_back(entry);
  }
  std::sort(found.begin(), found.end(), [](const Checkpoint& a, const Checkpoint& b) { return a.step < b.step; });
  return found;
}

void remove_unfinished_checkpoints(const std::string& directory) {
  const std::vector<std::string> names = entries_of(directory);
  for (const std::string& name : names) {
    if (!name.starts_with(replaced_prefix)) continue;
    const auto step = parse_number<int64_t>(name.substr(replaced_prefix.size()));
    if (step && *step >= 0) finish_replacement(directory, *step);
  }
  for (const std::string& name : names)
    for (const std::string_view prefix : {saving_prefix, removing_prefix, replaced_prefix})
      if (name.starts_with(prefix)) remove_tree(directory + "/" + name);
}

void remove_checkpoint(const std::string& path) {
  const std::optional<Manifest> manifest = read_manifest(path);
  if (!manifest) fail("{}: not removed: it has no manifest of ours", path);
  const std::vector<std::string> foreign = unlisted_files(path, *manifest);
  if (foreign.empty()) {
    // The name goes first, so that a half-removed directory is never taken for a damaged checkpoint.
    const std::string parent = parent_directory(path);
    const std::string removing = fmt::format("{}/{}{}", parent, removing_prefix, fs::path(path).filename().string());
    remove_tree(removing);
    rename_entry(path, removing);
    sync_directory(parent);
    remove_tree(removing);
    return;
  }
  for (const auto& [name, file] : manifest->files) remove_file(path + "/" + name);
  remove_file(path + "/" + manifest_name);
}

CheckpointStore::CheckpointStore(std::string directory) : directory_(std::move(directory)) {
  remove_unfinished_checkpoints(directory_);
}

std::string CheckpointStore::save(int64_t step, const std::function<void(const std::string& directory)>& write) {
  if (step < 0) fail("a checkpoint's step is at least 0, not {}", step);
  const std::string final_path = path_of_step(directory_, checkpoint_prefix, step);
  const std::string temporary = path_of_step(directory_, saving_prefix, step);
  const std::string replaced = path_of_step(directory_, replaced_prefix, step);
  try {
    remove_tree(temporary);
    remove_tree(replaced);
    make_directory(temporary);
    write(temporary);
    write_file_atomically(temporary + "/" + manifest_name, format_manifest(make_manifest(temporary, step)),
                          Flush::by_caller);
    sync_tree(temporary);
    put_in_place(temporary, final_path, replaced);
  } catch (const std::exception& error) {
    try {
      if (!entry_exists(final_path) && entry_exists(replaced)) rename_entry(replaced, final_path);
      remove_tree(temporary);
    } catch (const Error&) {  // the next start tries again
    }
    const auto* io = dynamic_cast<const fs::filesystem_error*>(&error);
    if (io == nullptr && dynamic_cast<const Error*>(&error) == nullptr) throw;
    const std::vector<Checkpoint> earlier = list_checkpoints(directory_);
    fail("the checkpoint of step {} could not be saved: {}{}", step,
         io ? fmt::format("{}: {}", io->path1().string(), io->code().message()) : error.what(),
         earlier.empty() ? "" : fmt::format("\nEarlier checkpoints in {} are intact.", directory_));
  }
  last_saved_ = step;
  return final_path;
}

void CheckpointStore::prune(size_t keep_last, const std::vector<int64_t>& keep) {
  std::vector<Checkpoint> all = list();
  std::erase_if(all, [&](const Checkpoint& c) {
    return (last_saved_ >= 0 && c.step > last_saved_) || !is_our_checkpoint(c.path);
  });
  for (size_t i = 0; i + keep_last < all.size(); ++i)
    if (std::find(keep.begin(), keep.end(), all[i].step) == keep.end()) remove_checkpoint(all[i].path);
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
