// Sentences as they arrive: the same as from a file, except for quotes in a table, however many lines are taken at a
// time. The first byte chooses the options, the second how many lines, the rest is what arrives.
#include "data/line_stream.h"

#include <fcntl.h>
#include <unistd.h>

#include <optional>

#include "tests/fuzz/fuzz.h"

namespace {

using namespace crisp;

struct Read {
  std::vector<Example> examples;
  bool refused = false;
};

Read from_stream(std::string_view content, const ReadOptions& options, size_t most) {
  const fuzz::MemoryFile memory(content);
  const int fd = ::open(memory.path().c_str(), O_RDONLY | O_CLOEXEC);
  fuzz::require(fd >= 0, "a file in memory cannot be opened");
  Read read;
  try {
    ExampleStream stream(fd, "data", options);
    for (Dataset part = stream.next(most); !part.examples.empty(); part = stream.next(most))
      read.examples.insert(read.examples.end(), part.examples.begin(), part.examples.end());
  } catch (const BadInput& error) {
    fuzz::require_printable(error.what());
    read.refused = true;
  }
  ::close(fd);
  return read;
}

void require_equal(const std::vector<Example>& some, const std::vector<Example>& others, const char* what) {
  fuzz::require(some.size() == others.size(), what);
  for (size_t i = 0; i < some.size(); ++i)
    fuzz::require(some[i].text == others[i].text && some[i].label == others[i].label, what);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::refused_or_right(data, size, [](std::string_view input) {
    if (input.size() < 2) return;
    const auto choice = static_cast<unsigned char>(input[0]);
    const bool numbers = (choice & 1) != 0;
    const ReadOptions options{.num_labels = 2,
                              .label_names = {numbers ? "0" : "neg", numbers ? "1" : "pos"},
                              .label_names_from = "the model",
                              .allow_plain_text = true,
                              .allow_empty = true,
                              .format = static_cast<TextFormat>((choice >> 1) % 5)};
    const size_t most = 1 + static_cast<unsigned char>(input[1]) % 8;
    const std::string_view content = input.substr(2);
    const Read few = from_stream(content, options, most), all = from_stream(content, options, size_t{1} << 20);
    fuzz::require(few.refused == all.refused, "refused depending on how many lines are taken at a time");
    require_equal(few.examples, all.examples, "other examples depending on how many lines are taken at a time");
    const bool quotes_count = content.find('"') != std::string_view::npos && !content.starts_with('{');
    if (all.refused || quotes_count) return;
    std::optional<Dataset> file;
    try {
      file = parse_dataset(content, "data", options);
    } catch (const BadInput&) {  // for what all of it tells: numbers and words for labels, say
    }
    if (file) require_equal(all.examples, file->examples, "other examples from a stream");
  });
}
