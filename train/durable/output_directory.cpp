#include "train/durable/output_directory.h"

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "data/input/file.h"
#include "engine/fail.h"
#include "train/durable/checkpoint_store.h"
#include "train/durable/run_marker.h"
#include "train/durable/tensorboard.h"
#include "weights/atomic_file.h"
#include "weights/file_calls.h"
#include "weights/publication.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;

// Of everything that a run keeps beside the user's files for a while.
constexpr std::string_view own_prefix = ".crisp-";
constexpr const char* staging_name = ".crisp-publishing";
constexpr const char* moving_name = ".crisp-moving-in";

RunMarker marker_in(const std::string& directory) {
  const std::string marker = directory + "/" + OutputDirectory::marker_name;
  if (!entry_exists(marker)) return {};
  return parse_run_marker(read_input_or_empty(marker, input_limit::settings), marker);
}

std::vector<std::string> names_in_marker(const std::string& directory) { return marker_in(directory).files; }

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Those that a killed AtomicFile left for one of the run's names.
void remove_leftovers(const std::string& directory) {
  std::vector<std::string> names = names_in_marker(directory);
  names.emplace_back(OutputDirectory::marker_name);
  remove_temporary_files(directory, names);
}

bool holds_our_checkpoints(const std::string& directory) {
  const std::vector<Checkpoint> all = list_checkpoints(directory);
  return std::any_of(all.begin(), all.end(), [](const Checkpoint& c) { return is_our_checkpoint(c.path); });
}

// A run that ended before it wrote anything (its data was not found, say) must not stand in the way of the next try.
bool holds_run_files(const std::string& directory) {
  if (!entry_exists(directory + "/" + OutputDirectory::marker_name)) return false;
  const std::vector<std::string> names = names_in_marker(directory);
  const auto is_there = [&](const std::string& name) { return entry_exists(directory + "/" + name); };
  return std::any_of(names.begin(), names.end(), is_there) || holds_our_checkpoints(directory);
}

// Checkpoints, event files, and the files of these names.
void remove_run_files(const std::string& directory, const std::vector<std::string>& names) {
  remove_unfinished_checkpoints(directory);
  for (const Checkpoint& checkpoint : list_checkpoints(directory))
    if (is_our_checkpoint(checkpoint.path)) remove_checkpoint(checkpoint.path);
  for (const std::string& name : names)
    if (name != OutputDirectory::marker_name) remove_file(directory + "/" + name);
  std::error_code ignored;
  for (const std::string& name : entries_of(directory))
    if (is_event_file_name(name) && fs::is_regular_file(fs::symlink_status(directory + "/" + name, ignored)))
      remove_file(directory + "/" + name);
}

// `files`: what a run would write; `listed`: what the run that is there may have written.
void refuse_foreign_files(const std::string& directory, const std::vector<std::string>& files,
                          const std::vector<std::string>& listed, bool overwrite) {
  const bool has_run = holds_run_files(directory);
  std::vector<std::string> found;
  for (const std::string& name : files) {
    const bool ours = has_run && contains(listed, name);
    if (!ours && entry_exists(directory + "/" + name)) found.push_back(name);
  }
  for (const Checkpoint& checkpoint : list_checkpoints(directory))
    if (!has_run || (overwrite && !is_our_checkpoint(checkpoint.path)))
      found.push_back(fs::path(checkpoint.path).filename().string());
  if (found.empty()) return;
  fail<UsageError>(
      "{}: holds files that the run would have to replace ({}) and that no run of this program wrote; "
      "choose another --output",
      directory, fmt::join(found, ", "));
}

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

LockFile lock_directory(const std::string& directory) {
  LockFile lock(directory + "/.crisp.lock");
  if (!lock.held())
    fail<UsageError>("{}: another run is writing here{}; wait for it or choose another --output", directory,
                     lock.holder().empty() ? "" : " (" + lock.holder() + ")");
  return lock;
}

OutputDirectory::OutputDirectory(std::string path, const std::vector<std::string>& files, bool resume, bool overwrite,
                                 const std::vector<std::string>& inputs,
                                 const std::function<void(const OutputDirectory&)>& check)
    : root_(without_trailing_slashes(std::move(path))), path_(root_) {
  if (root_.empty()) fail<UsageError>("--output needs the name of a directory");
  if (resume && overwrite) fail<UsageError>("--resume and --overwrite exclude each other");
  refuse_inputs(files, inputs);
  std::error_code ignored;
  if (entry_exists(root_) && !fs::is_directory(root_, ignored))
    fail<UsageError>("{}: is not a directory; choose another --output", root_);
  with_directories(root_, [&] {
    LockFile lock = lock_directory(root_);
    finish_announced();
    refuse_foreign_files(root_, files, names_in_marker(root_), overwrite);
    const std::string given_up = choose_place(resume, overwrite);
    bytes_to_go_ = given_up.empty() ? 0 : disk_bytes_of(given_up);
    if (check) check(*this);
    if (!given_up.empty()) remove_tree(given_up);
    RunMarker marker = holds_run_ ? marker_in(path_) : RunMarker{};
    listed_ = std::move(marker.files);
    for (const std::string& name : files)
      if (!contains(listed_, name)) listed_.push_back(name);
    // The folder of a run that replaces another one holds nothing that would be missed until its first checkpoint, and
    // that flushes the folder.
    with_directories(path_, [&] { describe(marker.settings); });
    lock_ = std::move(lock);  // only now: one that is given up is no more when the directory goes
  });
}

void OutputDirectory::describe(const std::string& settings) const {
  write_file_atomically(file(marker_name), format_run_marker({listed_, settings}),
                        replaces_run() ? Flush::content : Flush::now);
}

// Which of the runs here is meant, and whether that is allowed. Returns the folder of the one that is given up for it,
// if any.
std::string OutputDirectory::choose_place(bool resume, bool overwrite) {
  const std::string new_run = root_ + "/" + new_run_name;
  const bool has_run = holds_run_files(root_), has_new_run = holds_run_files(new_run);
  if (!resume && !overwrite && (has_run || has_new_run)) {
    if (has_new_run)
      fail<UsageError>(
          "{}: holds a run that --overwrite began and that has no model yet; --resume continues it, --overwrite starts "
          "afresh, or choose another --output",
          root_);
    if (!entry_exists(root_ + "/" + model_name) && !holds_our_checkpoints(root_))
      fail<UsageError>(
          "{}: holds the records of a run that left neither a model nor a checkpoint; --overwrite deletes them, or "
          "choose another --output",
          root_);
    fail<UsageError>("{}: holds a run; --resume continues it, --overwrite deletes it, or choose another --output",
                     root_);
  }
  remove_leftovers(root_);
  if (resume && entry_exists(new_run + "/" + marker_name)) {
    path_ = new_run;
    remove_leftovers(path_);
    holds_run_ = has_new_run;
    return "";
  }
  if (has_run && overwrite) path_ = new_run;
  holds_run_ = has_run && resume;
  return entry_exists(new_run) ? new_run : "";
}

OutputDirectory::~OutputDirectory() {
  if (!replaces_run() || is_announced(root_) || !entry_exists(path_)) return;
  try {
    bool empty = !holds_our_checkpoints(path_);
    for (const std::string& name : listed_) {
      std::error_code ignored;
      const uintmax_t size = fs::file_size(file(name), ignored);
      empty &= ignored || size == 0;
    }
    if (empty) remove_tree(path_);
  } catch (const Error&) {  // the next start does
  }
}

bool OutputDirectory::has_model() const { return entry_exists(file(model_name)); }

void OutputDirectory::publish(const std::function<void(const std::string& directory)>& write) {
  announce_publication(root_, file(staging_name), write);
  finish_announced();
  path_ = root_;
}

// What has been announced is visible to readers already; here it takes its place. Each step may have been begun by a
// process that was killed: while the new run's files are in .crisp-new-run, the former run's are on their way out; from
// .crisp-moving-in they are on their way up.
void OutputDirectory::finish_announced() {
  const std::string new_run = root_ + "/" + new_run_name, moving = root_ + "/" + moving_name;
  remove_tree(root_ + "/" + staging_name);
  if (!is_announced(root_)) {
    remove_tree(moving);  // empty: its files came up before the publication was forgotten
  } else {
    if (entry_exists(new_run)) {
      const std::vector<std::string> former = names_in_marker(root_);
      remove_run_files(root_, {});
      place_publication(root_, former);
      rename_entry(new_run, moving);
      sync_directory(root_);
    } else if (!entry_exists(moving)) {
      place_publication(root_, {});
    }
    if (entry_exists(moving)) {
      for (const std::string& name : entries_of(moving)) rename_entry(moving + "/" + name, root_ + "/" + name);
      sync_directory(root_);
      remove_tree(moving);
    }
  }
  forget_publication(root_);
}

// A run that starts from its own output would delete, with --overwrite, the very weights that it has been asked to
// train.
void OutputDirectory::refuse_inputs(const std::vector<std::string>& files,
                                    const std::vector<std::string>& inputs) const {
  std::error_code ignored;
  const fs::path here = fs::canonical(path_, ignored);
  if (here.empty() || !fs::is_directory(here, ignored)) return;  // nothing of a run is there
  std::vector<std::string> ours = files;
  for (std::string& name : names_in_marker(path_)) ours.push_back(std::move(name));
  const auto is_ours = [&](const fs::path& path) {
    const fs::path below = path.lexically_relative(here);
    if (below.empty() || *below.begin() == "..") return false;
    const std::string first = below.begin()->string();
    if (first.starts_with(own_prefix)) return true;
    if (contains(ours, below.string())) return true;
    for (const Checkpoint& checkpoint : list_checkpoints(path_))
      if (fs::path(checkpoint.path).filename() == first && is_our_checkpoint(checkpoint.path)) return true;
    return false;
  };
  for (const std::string& input : inputs) {
    // The file itself and, if it is a link, the link.
    const fs::path given(input);
    const fs::path folder = fs::canonical(given.has_parent_path() ? given.parent_path() : ".", ignored);
    if (is_ours(fs::canonical(given, ignored)) || is_ours(folder / given.filename()))
      fail<UsageError>(
          "{}: this run reads it, but in {} it is among the files that a run deletes or replaces; choose another "
          "--output",
          input, path_);
  }
}

void OutputDirectory::clear() {
  remove_run_files(path_, listed_);
  sync_directory(path_);
}

void require_free_space(const std::string& path, uint64_t bytes, const char* what) {
  struct statvfs status {};
  const int result = file_calls::uninterrupted([&] { return file_calls::statvfs(path.c_str(), &status); });
  // Some file systems do not say, or say that they have no blocks at all.
  if (result != 0 || status.f_blocks == 0 || status.f_frsize == 0) return;
  const uint64_t free_bytes = static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
  if (free_bytes < bytes)
    fail("{}: {} are free on its disk, {} needs about {}; make room or choose another --output", path,
         format_bytes(free_bytes), what, format_bytes(bytes));
}

std::string format_bytes(uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{} bytes", bytes);
  double value = static_cast<double>(bytes) / 1000;
  const char* const units[] = {"kB", "MB", "GB", "TB", "PB"};
  size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < std::size(units); ++unit) value /= 1000;
  return fmt::format("{:.{}f} {}", value, value < 9.95 ? 1 : 0, units[unit]);
}

}  // namespace crisp
