// A vocab.txt and, after the first empty line, a text that is tokenised with it.
#include "data/wordpiece.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace crisp;
  return fuzz::refused_or_right(data, size, [](std::string_view text) {
    const size_t end = text.find("\n\n");
    const std::string_view sentence = end == std::string_view::npos ? "" : text.substr(end + 2);
    // The vocabulary itself must not need the right beginning for the tokenizer to be reached.
    const std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n" + std::string(text.substr(0, end));
    const WordPiece tokenizer = WordPiece::parse(vocabulary, "vocab.txt");
    const auto ids = tokenizer.encode(sentence, 64);
    const auto spans = tokenizer.encode_with_offsets(sentence, 64);
    fuzz::require(ids.size() == spans.size() && ids.size() >= 2 && ids.size() <= 64, "a wrong number of tokens");
    for (size_t i = 0; i < ids.size(); ++i) {
      fuzz::require(ids[i] == spans[i].id && ids[i] >= 0 && ids[i] < tokenizer.size(), "an id out of range");
      fuzz::require(spans[i].begin <= spans[i].end && spans[i].end <= sentence.size(), "an offset out of range");
    }
  });
}
