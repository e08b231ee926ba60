// A config.json: what is accepted can be written and read back.
#include "model/config.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace crisp;
  return fuzz::refused_or_right(data, size, [](std::string_view text) {
    const DistilBertConfig config = parse_config(std::string(text), "config.json");
    fuzz::require(config.dim == config.heads * config.head_dim(), "heads do not divide the width");
    const std::string written = config_json(config);
    fuzz::require(config_json(parse_config(written, "written")) == written, "what was written reads back otherwise");
  });
}
