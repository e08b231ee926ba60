#include "weights/publication.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <filesystem>

#include "engine/fail.h"
#include "weights/file_calls.h"
#include "weights/file_changes.h"
#include "weights/published.h"

namespace crisp {
namespace {

namespace fs = std::filesystem;

constexpr const char* weights_name = "model.safetensors";
constexpr const char* forgotten_name = ".crisp-publication-done";

std::string pending(const std::string& directory) { return directory + "/" + publication_name; }

}  // namespace

void announce_publication(const std::string& directory, const std::string& staging,
                          const std::function<void(const std::string& directory)>& write) {
  remove_tree(staging);  // of a process that was killed
  if (file_calls::mkdir(staging.c_str(), 0777) != 0)
    fail("{}: a model cannot be written here: {}; choose another directory", directory, std::strerror(errno));
  try {
    write(staging);
    sync_tree(staging);
    rename_entry(staging, pending(directory));
    sync_directory(directory);
  } catch (...) {
    try {
      remove_tree(staging);
    } catch (const std::exception&) {  // the next one does
    }
    throw;
  }
}

bool is_announced(const std::string& directory) { return published_directory(directory) != directory; }

void place_publication(const std::string& directory, const std::vector<std::string>& names) {
  const std::vector<std::string> published = entries_of(pending(directory));
  const std::string weights = directory + "/" + weights_name;
  const std::string new_weights = pending(directory) + "/" + weights_name;
  std::error_code ignored;
  if (!fs::equivalent(weights, new_weights, ignored)) remove_file(weights);
  for (const std::string& name : names)
    if (!std::binary_search(published.begin(), published.end(), name)) remove_file(directory + "/" + name);
  for (const std::string& name : published)
    if (name != weights_name) link_over(pending(directory) + "/" + name, directory + "/" + name);
  if (entry_exists(new_weights)) link_over(new_weights, weights);
  sync_directory(directory);
}

void forget_publication(const std::string& directory) {
  const std::string forgotten = directory + "/" + forgotten_name;
  remove_tree(forgotten);
  if (!is_announced(directory)) return;
  rename_entry(pending(directory), forgotten);
  sync_directory(directory);
  remove_tree(forgotten);
}

}  // namespace crisp
