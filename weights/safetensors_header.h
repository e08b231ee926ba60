// The JSON header of a safetensors file and the rules that it must keep. Knows no files: text in, entries out.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "weights/safetensors.h"

namespace crisp {

constexpr uint64_t safetensors_header_limit = 100'000'000;

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  // by offset
  std::map<std::string, std::string> metadata;
};

/// Parses and checks the N bytes of header text of a file whose data section has `data_bytes` bytes. Throws BadInput;
/// `path` is for its message only. Memory stays proportional to the text.
SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes, const std::string& path);

/// The canonical header text for entries that are in file order, with its padding.
std::string format_safetensors_header(const std::vector<TensorEntry>& tensors,
                                      const std::map<std::string, std::string>& metadata);

}  // namespace crisp
