#include "train/door/source.h"

#include <cstring>

#include "engine/error.h"

namespace crisp {

std::optional<uint64_t> door::MemoryFiles::size(const std::string& name) const {
  const auto found = files_.find(name);
  if (found == files_.end()) return std::nullopt;
  return found->second.size();
}

bool door::MemoryFiles::read_at(const std::string& name, uint64_t offset, std::span<std::byte> out) const {
  const std::string_view content = files_.at(name);
  if (offset > content.size() || out.size() > content.size() - offset) return false;
  std::memcpy(out.data(), content.data() + offset, out.size());
  return true;
}

bool door::ReaderFiles::read_at(const std::string& name, uint64_t offset, std::span<std::byte> out) const {
  const std::optional<uint64_t> size = read_(name, offset, out);
  return size && offset <= *size && out.size() <= *size - offset;
}

const char* version() { return CRISP_VERSION; }

ModelSource::ModelSource(std::string file_or_directory) : path_(std::move(file_or_directory)) {
  if (path_.empty())
    throw UsageError(
        "a model's path is empty; give a directory, a .safetensors file or the name of a model in Hugging Face's "
        "cache");
}

ModelSource::ModelSource(std::shared_ptr<const InputFiles> files) : files_(std::move(files)) {}

ModelSource ModelSource::memory(const ModelFiles& files) {
  return memory(std::map<std::string, std::string_view>(files.begin(), files.end()));
}

ModelSource ModelSource::memory(const std::map<std::string, std::string_view>& files) {
  return ModelSource(std::make_shared<const door::MemoryFiles>(files));
}

ModelSource ModelSource::reader(ReadFile read) {
  if (!read) throw UsageError("a model's reader is an empty function");
  return ModelSource(std::make_shared<const door::ReaderFiles>(std::move(read)));
}

}  // namespace crisp
