// A tokenizer's directory and a text for it. The parts of an input: the text, then the files of `names`; an empty one
// is not there.
#include "data/tokenizer_files.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace crisp;

constexpr int max_length = 64;

std::vector<int32_t> checked_ids(const WordPiece& tokenizer, std::string_view text) {
  const std::vector<int32_t> ids = tokenizer.encode(text, max_length);
  const std::vector<TokenSpan> spans = tokenizer.encode_with_offsets(text, max_length);
  fuzz::require(ids.size() == spans.size() && ids.size() >= 2 && ids.size() <= max_length, "a wrong number of tokens");
  for (size_t i = 0; i < ids.size(); ++i) {
    fuzz::require(ids[i] == spans[i].id, "another id with offsets");
    fuzz::require(ids[i] >= 0 && ids[i] <= tokenizer.largest_id(), "an id out of range");
    fuzz::require(spans[i].begin <= spans[i].end && spans[i].end <= text.size(), "an offset out of range");
  }
  return ids;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::refused_or_right(data, size, [](std::string_view input) {
    constexpr const char* names[] = {
        "vocab.txt",         "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "config.json"};
    const auto parts = fuzz::parts<1 + std::size(names)>(input);
    const std::string_view text = parts[0];
    const fuzz::MemoryDirectory given;
    for (size_t i = 0; i < std::size(names); ++i)
      if (!parts[1 + i].empty()) given.write(names[i], parts[1 + i]);
    const TokenizerFiles files = read_tokenizer(given.path());
    for (const std::string& note : files.notes) fuzz::require_printable(note);
    if (files.path.empty()) return;
    const std::vector<int32_t> ids = checked_ids(files.tokenizer(), text);

    const fuzz::MemoryDirectory written;
    const auto documents = tokenizer_documents(files, max_length);
    for (const auto& [name, content] : documents) written.write(name, content);
    try {
      const TokenizerFiles again = read_tokenizer(written.path());
      fuzz::require(checked_ids(again.tokenizer(), text) == ids, "what was written makes other ids");
      fuzz::require(tokenizer_documents(again, max_length) == documents, "what was written is written otherwise");
    } catch (const BadInput& error) {
      fuzz::require(false, error.what());
    }
  });
}
