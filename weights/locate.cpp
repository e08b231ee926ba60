#include "weights/locate.h"

#include <filesystem>
#include <string_view>
#include <system_error>

#include "data/input/file.h"
#include "engine/fail.h"
#include "weights/file_changes.h"
#include "weights/hub_cache.h"
#include "weights/published.h"

namespace crisp {
namespace {

constexpr const char* how_to_convert =
    "convert it with transformers: AutoModel.from_pretrained(DIR).save_pretrained(NEW_DIR)";
constexpr const char* sharded =
    "a sharded checkpoint (model.safetensors.index.json), which Crisp does not read; save it as one file with "
    "transformers: save_pretrained(NEW_DIR, max_shard_size=\"100GB\")";

}  // namespace

std::string locate_weights(const std::string& file_or_directory) {
  namespace fs = std::filesystem;
  const fs::path given = file_or_directory;
  std::error_code ignored;
  if (given.filename() == "model.safetensors" && !fs::is_directory(given, ignored)) {  // it may be about to come
    const std::string directory = parent_directory(file_or_directory), published = published_directory(directory);
    if (published != directory) return published + "/model.safetensors";
  }
  if (!input_exists(file_or_directory)) {
    const std::string snapshot = find_in_hub_cache(file_or_directory);
    if (snapshot.empty()) fail<BadInput>("{}", explain_missing_model(file_or_directory));
    return locate_weights(snapshot);
  }
  if (!fs::is_directory(given, ignored)) {
    if (given.filename().string().ends_with(".safetensors.index.json")) {
      fail<BadInput>("{}: {}", file_or_directory, sharded);
    }
    return file_or_directory;
  }
  const fs::path wanted = fs::path(published_directory(file_or_directory)) / "model.safetensors";
  if (input_exists(wanted.string())) return wanted.string();
  if (input_exists((given / "model.safetensors.index.json").string()))
    fail<BadInput>("{}: {}", file_or_directory, sharded);
  for (const char* pickle : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (fs::exists(given / pickle, ignored)) {
      fail<BadInput>("{}: has {} but no model.safetensors; {}", file_or_directory, pickle, how_to_convert);
    }
  }
  fail<BadInput>("{}: has no model.safetensors", file_or_directory);
}

std::string explain_foreign_format(std::span<const std::byte> first_bytes) {
  const std::string_view text(reinterpret_cast<const char*>(first_bytes.data()), first_bytes.size());
  if (text.starts_with("PK\x03\x04")) {
    return fmt::format("a zip archive, probably a PyTorch checkpoint, not a safetensors file; {}", how_to_convert);
  }
  if (text.starts_with("\x80\x02") || text.starts_with("\x80\x03") || text.starts_with("\x80\x04")) {
    return fmt::format("a Python pickle, probably a PyTorch checkpoint, not a safetensors file; {}", how_to_convert);
  }
  if (text.starts_with("version https://git-lfs")) {
    return "a Git LFS pointer, not the weights themselves; run 'git lfs pull' in its repository";
  }
  if (text.starts_with("\x89HDF")) return "an HDF5 file (Keras weights?), not a safetensors file";
  if (text.starts_with("GGUF")) return "a GGUF file, not a safetensors file";
  if (text.starts_with("<")) return "an HTML or XML page, not weights; the download probably failed";
  if (text.starts_with("{") && (text.find("\"weight_map\"") != std::string_view::npos ||
                                text.find("\"total_size\"") != std::string_view::npos)) {
    return sharded;
  }
  if (text.starts_with("{")) return "a JSON file, not a safetensors file";
  return "";
}

}  // namespace crisp
