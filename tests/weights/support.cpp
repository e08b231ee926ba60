#include "tests/weights/support.h"

#include <stdlib.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "engine/fail.h"

namespace crisp::test {

namespace fs = std::filesystem;

TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "crisp-weights-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) fail("no temporary folder: {}", std::strerror(errno));
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::vector<std::string> TempDir::names() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path_)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) fail("cannot write {}", path);
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail("cannot read {}", path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string u64(uint64_t n) { return bytes_of({n}); }

std::string file_of(std::string_view header, std::string_view data) {
  return u64(header.size()) + std::string(header) + std::string(data);
}

template <class E>
static std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const E& e) {
    return e.what();
  }
  return "(none)";
}

std::string bad_input(const std::function<void()>& action) { return message_of<BadInput>(action); }
std::string error(const std::function<void()>& action) { return message_of<Error>(action); }

void write_tensors(const std::string& path, const Shapes& shapes) {
  std::vector<std::vector<float>> values;
  std::vector<TensorToWrite> tensors;
  float next = 0;
  for (const auto& [name, shape] : shapes) {
    size_t n = 1;
    for (const uint64_t d : shape) n *= d;
    values.emplace_back(n);
    for (float& v : values.back()) v = (next += 0.25f);
    tensors.push_back({name, SafeDType::F32, shape, std::span<const float>(values.back())});
  }
  write_safetensors(path, tensors);
}

}  // namespace crisp::test
