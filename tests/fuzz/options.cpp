// A program's options from a --config FILE, up to where crisp-train begins.
#include "tools/options.h"

#include <algorithm>

#include "tests/fuzz/fuzz.h"
#include "tools/hf_options.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace crisp;
  return fuzz::refused_or_right(data, size, [](std::string_view content) {
    const fuzz::MemoryFile file(content);
    // Making them takes longer than all the rest.
    static TrainOptions options;
    static CLI::App app("", "fuzz");
    static const bool made = (add_train_options(app, options), true);
    (void)made;
    options = {};
    try {
      const std::vector<Argument> arguments = read_arguments(app, {"--config", file.path()});
      std::vector<std::string> words = to_words(translate_hf_options(app, arguments).arguments);
      std::reverse(words.begin(), words.end());
      app.parse(words);
    } catch (const CLI::ParseError& error) {
      fuzz::require(!explain_parse_error(app, error).empty() || error.get_exit_code() == 0, "refused without a word");
    }
  });
}
