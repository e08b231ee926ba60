#include "train/durable/checkpoint_manifest.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/input/file.h"
#include "data/input/json.h"
#include "data/input/text.h"
#include "engine/fail.h"
#include "train/durable/checkpoint_store.h"
#include "train/durable/sha256.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* manifest_format = "crisp-checkpoint";
constexpr int manifest_version = 1;

// A manifest is a file like any other: its names must not lead out of the checkpoint.
bool is_safe_name(const std::string& name) {
  if (name.empty() || name.size() > 255 || name.find('\0') != std::string::npos) return false;
  const fs::path path(name);
  return path.is_relative() && std::none_of(path.begin(), path.end(), [](const fs::path& part) {
           return part == ".." || part == "." || part.empty();
         });
}

// Relative paths of all that is no directory, sorted.
std::vector<std::string> files_below(const std::string& directory) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory)) {
    if (!fs::is_directory(entry.symlink_status())) names.push_back(entry.path().lexically_relative(directory).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

Manifest make_manifest(const std::string& directory, int64_t step) {
  Manifest manifest;
  manifest.step = step;
  for (const std::string& name : files_below(directory)) {
    const std::string path = directory + "/" + name;
    manifest.files[name] = {fs::file_size(path), sha256_file(path)};
  }
  if (manifest.files.empty()) fail("{}: a checkpoint needs at least one file", directory);
  return manifest;
}

std::string format_manifest(const Manifest& manifest) {
  nlohmann::ordered_json files = nlohmann::ordered_json::object();
  for (const auto& [name, file] : manifest.files) files[name] = {{"size", file.size}, {"sha256", file.sha256}};
  const nlohmann::ordered_json document = {
      {"format", manifest_format}, {"version", manifest_version}, {"step", manifest.step}, {"files", files}};
  return document.dump(2) + '\n';
}

Manifest parse_manifest(const std::string& text, const std::string& where) {
  const json document = parse_json(text, where);
  const JsonFields fields(document, where);
  const json* files = fields.object("files");
  if (fields.text("format") != manifest_format || fields.whole("version", 0, INT32_MAX) != manifest_version || !files ||
      files->empty())
    fail<BadInput>("{}: not one of ours", where);
  Manifest manifest;
  manifest.step = fields.need("step", fields.whole("step", 0, INT64_MAX));
  for (const auto& [name, file] : files->items()) {
    if (!is_safe_name(name)) fail<BadInput>("{}: {} is no name of a file below it", where, quote(name));
    const JsonFields entry(file, where);
    manifest.files[name] = {static_cast<uint64_t>(entry.need("size", entry.whole("size", 0, INT64_MAX))),
                            entry.need("sha256", entry.text("sha256"))};
  }
  return manifest;
}

std::optional<Manifest> read_manifest(const std::string& directory, std::string* why) {
  const auto reject = [&](std::string reason) {
    if (why != nullptr) *why = std::move(reason);
    return std::nullopt;
  };
  const std::string path = directory + "/" + manifest_name;
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(path, error))) return reject("has no manifest.json");
  try {
    return parse_manifest(read_input(path, input_limit::settings), path);
  } catch (const BadInput&) {
    return reject("manifest.json is damaged or not one of ours");
  }
}

std::string manifest_damage(const std::string& directory, const Manifest& manifest) {
  // All sizes before the first hash: most damage is found without reading hundreds of megabytes.
  for (const auto& [name, file] : manifest.files) {
    struct stat status {};
    if (::lstat((directory + "/" + name).c_str(), &status) != 0) {
      return errno == ENOENT ? fmt::format("{} is missing", printable(name))
                             : fmt::format("{}: {}", printable(name), std::strerror(errno));
    }
    if (!S_ISREG(status.st_mode)) return fmt::format("{} is not a regular file", printable(name));
    if (static_cast<uint64_t>(status.st_size) != file.size) {
      return fmt::format("{} has {} bytes instead of {}", printable(name), status.st_size, file.size);
    }
  }
  for (const auto& [name, file] : manifest.files) {
    try {
      if (sha256_file(directory + "/" + name) != file.sha256)
        return fmt::format("{} has been altered", printable(name));
    } catch (const Error& error) {
      return error.what();
    }
  }
  return "";
}

std::vector<std::string> unlisted_files(const std::string& directory, const Manifest& manifest) {
  std::vector<std::string> names = files_below(directory);
  std::erase_if(names, [&](const std::string& name) { return name == manifest_name || manifest.files.contains(name); });
  return names;
}

std::string checkpoint_damage(const Checkpoint& checkpoint) {
  std::string why;
  const std::optional<Manifest> manifest = read_manifest(checkpoint.path, &why);
  if (!manifest) return why;
  if (manifest->step != checkpoint.step) return fmt::format("manifest.json is that of step {}", manifest->step);
  return manifest_damage(checkpoint.path, *manifest);
}

bool is_our_checkpoint(const std::string& directory) { return read_manifest(directory).has_value(); }

}  // namespace crisp
