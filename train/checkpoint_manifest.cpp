#include "train/checkpoint_manifest.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "train/checkpoint_store.h"
#include "train/sha256.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* manifest_format = "crisp-checkpoint";
constexpr int manifest_version = 1;
constexpr uintmax_t max_manifest_bytes = 1 << 20;

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

std::optional<Manifest> parse(const std::string& text) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object() || document.value("format", json()) != manifest_format) return std::nullopt;
  if (document.value("version", json()) != manifest_version) return std::nullopt;
  const json step = document.value("step", json());
  const json files = document.value("files", json());
  if (!step.is_number_unsigned() || step.get<uint64_t>() > INT64_MAX || !files.is_object() || files.empty()) {
    return std::nullopt;
  }
  Manifest manifest;
  manifest.step = step.get<int64_t>();
  for (const auto& [name, file] : files.items()) {
    if (!is_safe_name(name) || !file.is_object()) return std::nullopt;
    const json size = file.value("size", json());
    const json hash = file.value("sha256", json());
    if (!size.is_number_unsigned() || !hash.is_string()) return std::nullopt;
    manifest.files[name] = {size.get<uint64_t>(), hash.get<std::string>()};
  }
  return manifest;
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

std::optional<Manifest> read_manifest(const std::string& directory, std::string* why) {
  const auto reject = [&](std::string reason) {
    if (why != nullptr) *why = std::move(reason);
    return std::nullopt;
  };
  const fs::path path = fs::path(directory) / manifest_name;
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(path, error))) return reject("has no manifest.json");
  const uintmax_t size = fs::file_size(path, error);
  if (error || size > max_manifest_bytes) return reject("manifest.json is not one of ours");
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (!in) return reject("manifest.json cannot be read");
  std::optional<Manifest> manifest = parse(text);
  if (!manifest) return reject("manifest.json is damaged or not one of ours");
  return manifest;
}

std::string manifest_damage(const std::string& directory, const Manifest& manifest) {
  // All sizes before the first hash: most damage is found without reading hundreds of megabytes.
  for (const auto& [name, file] : manifest.files) {
    struct stat status {};
    if (::lstat((directory + "/" + name).c_str(), &status) != 0) {
      return errno == ENOENT ? fmt::format("{} is missing", name) : fmt::format("{}: {}", name, std::strerror(errno));
    }
    if (!S_ISREG(status.st_mode)) return fmt::format("{} is not a regular file", name);
    if (static_cast<uint64_t>(status.st_size) != file.size) {
      return fmt::format("{} has {} bytes instead of {}", name, status.st_size, file.size);
    }
  }
  for (const auto& [name, file] : manifest.files) {
    try {
      if (sha256_file(directory + "/" + name) != file.sha256) return fmt::format("{} has been altered", name);
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
