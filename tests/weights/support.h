// What the tests of weights/ share: a temporary folder, hand-made files, and errors as values.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "weights/safetensors.h"

namespace crisp::test {

/// A folder of its own, removed with everything in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  /// The names in the folder, sorted.
  std::vector<std::string> names() const;

 private:
  std::string path_;
};

void write_file(const std::string& path, std::string_view bytes);
std::string read_file(const std::string& path);

/// The eight bytes of a u64, little-endian.
std::string u64(uint64_t n);
/// A safetensors file: the header's true length, the header, the data.
std::string file_of(std::string_view header, std::string_view data = {});
/// The bytes of values, as they are in memory.
template <class T>
std::string bytes_of(std::initializer_list<T> values) {
  return std::string(reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T));
}

/// The message of the BadInput (or Error) that `action` throws. "(none)" when it throws nothing; other exceptions pass.
std::string bad_input(const std::function<void()>& action);
std::string error(const std::function<void()>& action);

/// A file of F32 tensors of the given shapes, every element a different small number, for name maps.
using Shapes = std::vector<std::pair<std::string, std::vector<uint64_t>>>;
void write_tensors(const std::string& path, const Shapes& shapes);

/// Since the last reset: the largest single operator new, in bytes, and the sum of all.
void reset_allocation_guard();
uint64_t largest_allocation();
uint64_t total_allocation();

}  // namespace crisp::test
