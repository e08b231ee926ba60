// A model's files that lie in a host program's memory, or behind its function.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "data/input/file.h"
#include "train/door/crisp/crisp.hpp"

namespace crisp::door {

class MemoryFiles : public InputFiles {
 public:
  explicit MemoryFiles(std::map<std::string, std::string_view> files) : files_(std::move(files)) {}
  std::optional<uint64_t> size(const std::string& name) const override;
  bool read_at(const std::string& name, uint64_t offset, std::span<std::byte> out) const override;

 private:
  std::map<std::string, std::string_view> files_;
};

class ReaderFiles : public InputFiles {
 public:
  explicit ReaderFiles(ReadFile read) : read_(std::move(read)) {}
  std::optional<uint64_t> size(const std::string& name) const override { return read_(name, 0, {}); }
  bool read_at(const std::string& name, uint64_t offset, std::span<std::byte> out) const override;

 private:
  ReadFile read_;
};

}  // namespace crisp::door
