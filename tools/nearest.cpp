#include "tools/nearest.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "data/input/text.h"

namespace crisp {

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

std::string nearest(std::string_view name, std::span<const std::string> names) {
  const std::string* best = nullptr;
  for (const std::string& other : names)
    if (!name.empty() && other.find(name) != std::string::npos && (!best || other.size() < best->size())) best = &other;
  if (best) return *best;
  size_t distance = name.size() / 2 + 1;
  for (const std::string& other : names) {
    const size_t d = edit_distance(name, other);
    if (d < distance) best = &other, distance = d;
  }
  return best ? *best : "";
}

std::string did_you_mean(std::string_view name, std::span<const std::string> names) {
  const std::string other = nearest(name, names);
  return other.empty() ? "" : "; did you mean " + printable(other) + "?";
}

std::string did_you_mean_path(const std::string& path) {
  namespace fs = std::filesystem;
  fs::path given(path);
  if (!given.has_filename()) given = given.parent_path();  // "model/"
  const fs::path directory = given.parent_path();
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator at(directory.empty() ? fs::path(".") : directory, error), end; !error && at != end;
       at.increment(error))
    names.push_back(at->path().filename().string());
  std::sort(names.begin(), names.end());
  const std::string name = nearest(given.filename().string(), names);
  return name.empty() ? "" : "; did you mean " + printable((directory / name).string()) + "?";
}

}  // namespace crisp
