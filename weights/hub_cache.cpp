#include "weights/hub_cache.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "data/input/file.h"
#include "data/input/text.h"
#include "engine/fail.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

bool may_be_hub_name(std::string_view text) {
  const auto is_part = [](std::string_view part) {
    const auto fits = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.'; };
    return !part.empty() && part.size() <= 96 && part.front() != '.' && part.front() != '-' &&
           std::all_of(part.begin(), part.end(), fits);
  };
  if (text.ends_with(".safetensors")) return false;
  const size_t slash = text.find('/');
  return is_part(text.substr(0, slash)) && (slash == std::string_view::npos || is_part(text.substr(slash + 1)));
}

std::string hub_cache_directory() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (const std::string directory = environment(name); !directory.empty()) return directory;
  if (const std::string home = environment("HF_HOME"); !home.empty()) return home + "/hub";
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty()) return cache + "/huggingface/hub";
  return environment("HOME") + "/.cache/huggingface/hub";
}

std::string find_in_hub_cache(const std::string& name) {
  if (!may_be_hub_name(name)) return "";
  std::string folder = "models--" + name;
  if (const size_t slash = folder.find('/'); slash != std::string::npos) folder.replace(slash, 1, "--");
  const fs::path model = fs::path(hub_cache_directory()) / folder, snapshots = model / "snapshots";
  std::error_code error;
  if (!fs::is_directory(snapshots, error)) return "";
  const std::string main = (model / "refs" / "main").string();
  if (input_exists(main)) {
    std::string hash = read_input(main, 1024);
    hash.erase(hash.find_last_not_of(" \r\n") + 1);
    if (!is_bare_file_name(hash) || !fs::is_directory(snapshots / hash, error))
      fail<BadInput>("{}: names the snapshot {}, which is not in {}; download the model again", main, quote(hash),
                     snapshots.string());
    return (snapshots / hash).string();
  }
  std::vector<std::string> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(snapshots, error))
    found.push_back(entry.path().string());
  if (found.size() > 1)
    fail<BadInput>("{}: has {} snapshots and no refs/main; give the directory of one of them", snapshots.string(),
                   found.size());
  return found.empty() ? "" : found.front();
}

std::string explain_missing_model(const std::string& name) {
  if (!may_be_hub_name(name)) return fmt::format("{}: no such file or directory", name);
  return fmt::format(
      "{}: no such file or directory, and no model of this name in the cache {}\n"
      "If it is one of huggingface.co, 'hf download {}' puts it there{}",
      name, hub_cache_directory(), name,
      name.ends_with("distilbert-base-uncased") ? "; 'weights/fetch DIR' is the way without Python" : "");
}

}  // namespace crisp
