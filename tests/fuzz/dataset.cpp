// Labelled sentences. The first byte chooses the reader's options and whether the file is packed, the rest is the file.
#include "data/dataset.h"

#include "data/input/packed.h"
#include "tests/data/gzip.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace crisp;
  return fuzz::refused_or_right(data, size, [](std::string_view text) {
    if (text.empty()) return;
    const auto choice = static_cast<unsigned char>(text[0]);
    ReadOptions options;
    options.allow_plain_text = (choice & 1) != 0;
    options.allow_empty = (choice & 2) != 0;
    options.num_labels = (choice & 4) != 0 ? 2 : 0;
    options.format = static_cast<TextFormat>((choice >> 3 & 7) % 5);
    std::string file(text.substr(1));
    if ((choice & 64) != 0) {  // mutations of a packed file hardly ever have the right checksum
      const std::string packed = gzipped(file);
      fuzz::require(gunzip(packed, "data", file.size()) == file, "unpacked to something else");
      file = packed;
    }
    const Dataset dataset = parse_dataset(file, "data", options);
    fuzz::require(options.allow_empty || !dataset.examples.empty(), "no examples and no complaint");
    for (const Example& example : dataset.examples) {
      fuzz::require((example.label >= 0) == dataset.labelled(), "labels on some examples only");
      fuzz::require(!dataset.labelled() || example.label < dataset.num_labels, "a label out of range");
    }
  });
}
