#include "weights/published.h"

#include <fmt/format.h>

#include <sys/stat.h>

#include <filesystem>

#include "weights/file_changes.h"

namespace crisp {

namespace fs = std::filesystem;

std::string published_directory(const std::string& directory) {
  const std::string pending = directory + "/" + publication_name;
  struct stat status {};
  return ::lstat(pending.c_str(), &status) == 0 && S_ISDIR(status.st_mode) ? pending : directory;
}

PublishedState::PublishedState(const std::string& file_or_directory) {
  std::error_code ignored;
  const std::string given =
      fs::is_directory(file_or_directory, ignored) ? file_or_directory : parent_directory(file_or_directory);
  const std::string directory = published_directory(given);
  identities_.push_back(directory);
  for (const char* name : {"model.safetensors", "config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json",
                           "special_tokens_map.json", "added_tokens.json"}) {
    struct stat status {};
    if (::stat((directory + "/" + name).c_str(), &status) != 0) continue;
    identities_.push_back(fmt::format("{} {} {} {} {}.{}", name, status.st_dev, status.st_ino, status.st_size,
                                      status.st_mtim.tv_sec, status.st_mtim.tv_nsec));
  }
}

}  // namespace crisp
