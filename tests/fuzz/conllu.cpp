// A CoNLL-U file: its sentences, their trees, and their words aligned with the sentences' own text.
#include "data/conllu.h"
#include "data/parse_alignment.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace crisp;
  return fuzz::refused_or_right(data, size, [](std::string_view text) {
    ConlluReader reader(text, "file.conllu");
    for (ParsedSentence sentence; reader.next(sentence);) {
      const std::string own = sentence.text;
      try {
        align_words(own, "file:1", sentence);
      } catch (const BadInput&) {  // the parse of another text; the next sentence may be right
      }
    }
  });
}
