// Any JSON: what is accepted is JSON for the library, too, and shown on one line.
#include "data/input/json.h"

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace crisp;
  return fuzz::refused_or_right(data, size, [](std::string_view text) {
    const nlohmann::json value = parse_json(text, "file.json");
    fuzz::require(parse_json(value.dump(), "written") == value, "what was written reads back otherwise");
    fuzz::require(show_json(value).find('\n') == std::string::npos, "a value is shown on several lines");
  });
}
