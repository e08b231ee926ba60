// manifest.json, the last file that a checkpoint gets: name, size and SHA-256 of all others.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace crisp {

constexpr const char* manifest_name = "manifest.json";

struct Manifest {
  struct File {
    uint64_t size = 0;
    std::string sha256;
  };
  int64_t step = 0;
  std::map<std::string, File> files;  // by path relative to the checkpoint
};

/// Reads and hashes all files below `directory`. Throws Error.
Manifest make_manifest(const std::string& directory, int64_t step);
std::string format_manifest(const Manifest& manifest);
/// The same backwards. Throws BadInput, naming `where`, for what format_manifest does not write, names of files that
/// are not below their checkpoint among it.
Manifest parse_manifest(const std::string& text, const std::string& where);

/// The manifest of a checkpoint; nullopt, with a reason in `why` if given, when there is none or it is none of ours.
std::optional<Manifest> read_manifest(const std::string& directory, std::string* why = nullptr);

/// The first disagreement between the manifest and the files; empty when there is none.
std::string manifest_damage(const std::string& directory, const Manifest& manifest);

/// Files below `directory` that the manifest does not know, itself left out.
std::vector<std::string> unlisted_files(const std::string& directory, const Manifest& manifest);

}  // namespace crisp
