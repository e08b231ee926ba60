// A .safetensors file: header, layout, every tensor read, the name map.
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "weights/name_map.h"
#include "weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace crisp;
  return fuzz::refused_or_right(data, size, [](std::string_view text) {
    const fuzz::MemoryFile memory(text);
    const SafetensorsFile file = SafetensorsFile::open(memory.path());
    uint64_t bytes = 0;
    for (const TensorEntry& entry : file.tensors()) {
      fuzz::require(file.find(entry.name) == &entry, "a tensor is not found by its name");
      bytes += file.bytes(entry).size();
      if (!is_readable_float(entry.dtype)) continue;
      std::vector<double> values(entry.numel());
      file.read(entry, values);
    }
    fuzz::require(bytes <= text.size(), "the tensors have more bytes than the file");
    infer_dims(file);
  });
}
