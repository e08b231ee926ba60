// A study file: what is accepted can be written and read back.
#include "train/study/study.h"

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace crisp;
  return fuzz::refused_or_right(data, size, [](std::string_view text) {
    const Study study = parse_study(std::string(text), "study");
    const std::string written = study_json(study).dump();
    fuzz::require(study_json(parse_study(written, "written")).dump() == written,
                  "what was written reads back otherwise");
  });
}
