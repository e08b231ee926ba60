#include "train/output_directory.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "data/input/file.h"
#include "data/input/json.h"
#include "data/input/text.h"
#include "engine/error.h"
#include "train/checkpoint_store.h"
#include "train/tensorboard.h"
#include "weights/atomic_file.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* marker_format = "crisp-run";

// The file names in a marker. They are deleted by --overwrite, so a marker must not name anything outside.
std::vector<std::string> read_marker(const std::string& path) {
  const auto is_name = [](const json& name) {
    return name.is_string() && is_bare_file_name(name.get_ref<const std::string&>());
  };
  try {
    const json document = parse_json(read_input(path, input_limit::settings), path);
    const JsonFields fields(document, path);
    const json* files = fields.list("files");
    if (fields.text("format") == marker_format && files && std::all_of(files->begin(), files->end(), is_name))
      return files->get<std::vector<std::string>>();
  } catch (const BadInput&) {  // one message for every damage
  }
  fail<BadInput>("{}: damaged, so what the run here wrote is unknown; choose another --output", path);
}

void write_marker(const std::string& path, const std::vector<std::string>& names) {
  const nlohmann::ordered_json document = {{"format", marker_format}, {"files", names}};
  write_file_atomically(path, document.dump(2) + '\n');
}

// The temporary files that a killed AtomicFile left for one of our names: ".NAME.tmp-PID-N".
bool is_leftover_of(std::string_view entry, const std::string& name) {
  const std::string prefix = fmt::format(".{}.tmp-", name.substr(0, 100));
  return entry.starts_with(prefix) &&
         std::all_of(entry.begin() + static_cast<std::ptrdiff_t>(prefix.size()), entry.end(),
                     [](char c) { return c == '-' || (c >= '0' && c <= '9'); });
}

void remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail("{}: cannot be removed: {}", path, std::strerror(errno));
}

template <class Predicate>
void remove_files_where(const std::string& directory, Predicate&& matches) {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (matches(it->path().filename().string()) && fs::is_regular_file(it->symlink_status(ignored))) {
      found.push_back(it->path().string());
    }
  }
  if (error) fail("{}: cannot be listed: {}", directory, error.message());
  for (const std::string& path : found) remove_file(path);
}

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

DirectoryLock::DirectoryLock(const std::string& directory) : lock_(directory + "/.crisp.lock") {
  if (!lock_.held())
    fail<UsageError>("{}: another run is writing here; wait for it or choose another --output", directory);
}

OutputDirectory::OutputDirectory(std::string path, const std::vector<std::string>& files, bool resume, bool overwrite,
                                 const std::vector<std::string>& inputs)
    : path_(without_trailing_slashes(std::move(path))) {
  if (path_.empty()) fail<UsageError>("--output needs the name of a directory");
  if (resume && overwrite) fail<UsageError>("--resume and --overwrite exclude each other");
  refuse_inputs(files, inputs);
  std::error_code error;
  fs::create_directories(path_, error);
  std::error_code ignored;
  if (!fs::is_directory(path_, ignored)) {
    if (entry_exists(path_)) fail<UsageError>("{}: is not a directory; choose another --output", path_);
    fail("{}: cannot be created: {}", path_, error.message());
  }
  lock_.emplace(path_);

  const std::string marker = file(marker_name);
  if (entry_exists(marker)) listed_ = read_marker(marker);
  const bool has_run = entry_exists(marker) && has_run_files();
  if (has_run) {
    if (!resume && !overwrite) {
      if (!has_model() && !has_our_checkpoints())
        fail<UsageError>(
            "{}: holds the records of a run that left neither a model nor a checkpoint; --overwrite deletes them, or "
            "choose another --output",
            path_);
      fail<UsageError>("{}: holds a run; --resume continues it, --overwrite deletes it, or choose another --output",
                       path_);
    }
    remove_files_where(path_, [&](const std::string& entry) {
      return std::any_of(listed_.begin(), listed_.end(), [&](const auto& name) { return is_leftover_of(entry, name); });
    });
  }
  if (has_run && overwrite) clear();
  holds_run_ = has_run && resume;

  std::vector<std::string> unknown;  // names that are not known to be a former run's
  for (const std::string& name : files) {
    const bool ours = holds_run_ && std::find(listed_.begin(), listed_.end(), name) != listed_.end();
    if (!ours) unknown.push_back(name);
  }
  refuse_foreign_files(unknown, !holds_run_);
  if (!holds_run_) listed_.clear();
  for (const std::string& name : files) {
    if (std::find(listed_.begin(), listed_.end(), name) == listed_.end()) listed_.push_back(name);
  }
  write_marker(marker, listed_);
}

// A run that ended before it wrote anything (its data was not found, say) must not stand in the way of the next try.
bool OutputDirectory::has_run_files() const {
  if (std::any_of(listed_.begin(), listed_.end(), [&](const std::string& name) { return entry_exists(file(name)); })) {
    return true;
  }
  return has_our_checkpoints();
}

bool OutputDirectory::has_model() const { return entry_exists(file(model_name)); }

bool OutputDirectory::has_our_checkpoints() const {
  const std::vector<Checkpoint> checkpoints = list_checkpoints(path_);
  return std::any_of(checkpoints.begin(), checkpoints.end(),
                     [](const Checkpoint& checkpoint) { return is_our_checkpoint(checkpoint.path); });
}

// A run that starts from its own output would delete, with --overwrite, the very weights that it has been asked to
// train.
void OutputDirectory::refuse_inputs(const std::vector<std::string>& files,
                                    const std::vector<std::string>& inputs) const {
  std::error_code ignored;
  const fs::path here = fs::canonical(path_, ignored);
  if (here.empty() || !fs::is_directory(here, ignored)) return;  // nothing of a run is there
  std::vector<std::string> ours = files;
  if (entry_exists(file(marker_name)))
    for (std::string& name : read_marker(file(marker_name))) ours.push_back(std::move(name));
  const auto is_ours = [&](const fs::path& path) {
    const fs::path below = path.lexically_relative(here);
    if (below.empty() || *below.begin() == "..") return false;
    const std::string first = below.begin()->string();
    if (std::find(ours.begin(), ours.end(), below.string()) != ours.end()) return true;
    const std::vector<Checkpoint> checkpoints = list_checkpoints(path_);
    return std::any_of(checkpoints.begin(), checkpoints.end(), [&](const Checkpoint& checkpoint) {
      return fs::path(checkpoint.path).filename() == first && is_our_checkpoint(checkpoint.path);
    });
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

void OutputDirectory::refuse_foreign_files(const std::vector<std::string>& files, bool checkpoints_too) const {
  std::vector<std::string> found;
  for (const std::string& name : files) {
    if (entry_exists(file(name))) found.push_back(name);
  }
  if (checkpoints_too) {
    for (const Checkpoint& checkpoint : list_checkpoints(path_)) {
      found.push_back(fs::path(checkpoint.path).filename().string());
    }
  }
  if (found.empty()) return;
  fail<UsageError>(
      "{}: holds files that the run would have to replace ({}) and that no run of this program wrote; "
      "choose another --output",
      path_, fmt::join(found, ", "));
}

void OutputDirectory::clear() {
  remove_unfinished_checkpoints(path_);
  for (const Checkpoint& checkpoint : list_checkpoints(path_)) {
    if (is_our_checkpoint(checkpoint.path)) remove_checkpoint(checkpoint.path);
  }
  for (const std::string& name : listed_) {
    if (name != marker_name) remove_file(file(name));
  }
  remove_files_where(path_, [](const std::string& entry) { return is_event_file_name(entry); });
  sync_directory(path_);
}

void require_free_space(const std::string& path, uint64_t bytes, const char* what) {
  struct statvfs status {};
  int result;
  do {
    result = ::statvfs(path.c_str(), &status);
  } while (result != 0 && errno == EINTR);
  if (result != 0) fail("{}: its free space cannot be found out: {}", path, std::strerror(errno));
  const uint64_t free_bytes = static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
  if (free_bytes < bytes) {
    fail("{}: {} are free on its disk, {} needs about {}; make room or choose another --output", path,
         format_bytes(free_bytes), what, format_bytes(bytes));
  }
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
