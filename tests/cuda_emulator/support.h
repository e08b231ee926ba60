// What the emulator's tests share.
#pragma once

#include <cuda_runtime.h>

#include <fstream>
#include <string>
#include <vector>

#include "engine/random.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/support/catch.h"

namespace crisp::test {

/// The emulator as at its start, before a test and after it.
struct Fresh {
  Fresh() { emulator::reset(); }
  ~Fresh() { emulator::reset(); }
};

/// An array on the device.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t n) : size_(n) { REQUIRE(cudaMalloc(reinterpret_cast<void**>(&p_), bytes()) == 0); }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    REQUIRE(cudaMemcpy(p_, values.data(), bytes(), cudaMemcpyHostToDevice) == 0);
  }
  ~DeviceArray() { cudaFree(p_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return p_; }
  size_t bytes() const { return size_ * sizeof(T); }
  std::vector<T> values() const {
    std::vector<T> host(size_);
    REQUIRE(cudaMemcpy(host.data(), p_, bytes(), cudaMemcpyDeviceToHost) == 0);
    return host;
  }

 private:
  T* p_ = nullptr;
  size_t size_;
};

template <class T>
std::vector<T> normals(size_t n, uint64_t seed) {
  std::vector<T> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = static_cast<T>(normal({.seed = seed}, i));
  return values;
}

/// "file:line" of the line of tests/cuda_emulator/PATH that ends with "// MARK" or holds it in a comment.
inline std::string line_of(const std::string& path, const std::string& mark) {
  std::ifstream file(std::string(CRISP_SOURCE_DIR) + "/tests/cuda_emulator/" + path);
  std::string line;
  for (int number = 1; std::getline(file, line); ++number)
    if (line.find("// " + mark) != std::string::npos)
      return path.substr(path.rfind('/') + 1) + ":" + std::to_string(number);
  FAIL("no line with // " << mark << " in " << path);
  return "";
}

}  // namespace crisp::test
