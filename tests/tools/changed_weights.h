// Models that differ from others in some numbers.
#pragma once

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/tools/programs.h"

namespace crisp::test {

/// Changes a model's file, whose tensors are F32: f(name of a tensor, its shape, its numbers).
inline void change_weights(
    const std::string& path,
    const std::function<void(const std::string&, const std::vector<int64_t>&, std::vector<float>&)>& f) {
  std::string bytes = read_file(path);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  const json entries = json::parse(bytes.substr(8, header));
  for (const auto& [name, entry] : entries.items()) {
    if (name == "__metadata__") continue;
    const size_t begin = 8 + header + entry.at("data_offsets")[0].get<size_t>();
    std::vector<float> values((entry.at("data_offsets")[1].get<size_t>() + 8 + header - begin) / sizeof(float));
    std::memcpy(values.data(), bytes.data() + begin, values.size() * sizeof(float));
    f(name, entry.at("shape").get<std::vector<int64_t>>(), values);
    std::memcpy(bytes.data() + begin, values.data(), values.size() * sizeof(float));
  }
  write_file(path, bytes);
}

}  // namespace crisp::test
