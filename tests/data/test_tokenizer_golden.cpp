// Our ids against those of Hugging Face's fast tokenizer, written by tests/golden/make_tokenizer_golden.py.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/unicode.h"
#include "data/wordpiece.h"
#include "tests/support/catch.h"

using crisp::WordPiece;

namespace {

// Compares every line of a golden file that follows `file`'s position; returns the number of lines.
int compare(const WordPiece& tokenizer, std::ifstream& file) {
  int lines = 0;
  for (std::string line; std::getline(file, line); ++lines) {
    const auto row = nlohmann::json::parse(line);
    const auto text = row[0].get<std::string>();
    const auto expected = row[1].get<std::vector<int32_t>>();
    const int max_length = row.size() > 2 ? row[2].get<int>() : 100000;
    std::vector<int32_t> with_offsets;
    for (const auto& token : tokenizer.encode_with_offsets(text, max_length)) with_offsets.push_back(token.id);
    if (tokenizer.encode(text, max_length) == expected && with_offsets == expected) continue;
    FAIL_CHECK("differs: " << row.dump(-1, ' ', true));
  }
  return lines;
}

}  // namespace

TEST_CASE("tokenizer golden: every step of the normalisation, with a vocabulary of characters") {
  std::ifstream file(CRISP_SOURCE_DIR "/tests/golden/tokenizer_chars.jsonl");
  std::string line;
  REQUIRE(std::getline(file, line));
  const auto characters = nlohmann::json::parse(line).get<std::string>();
  std::vector<std::string> tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  for (size_t begin = 0; begin < characters.size();) {
    size_t end = begin + 1;
    while (end < characters.size() && (static_cast<unsigned char>(characters[end]) & 0xC0) == 0x80) ++end;
    tokens.push_back(characters.substr(begin, end - begin));
    tokens.push_back("##" + tokens.back());
    begin = end;
  }
  CHECK(compare(WordPiece::from_tokens(tokens), file) > 2500);
}

TEST_CASE("tokenizer golden: mixed texts with the vocabulary of bert-base-uncased") {
  const std::string path = datasets_dir() + "/bert-base-uncased/vocab.txt";
  if (!std::filesystem::exists(path)) CRISP_SKIP("no " + path);
  std::ifstream file(CRISP_SOURCE_DIR "/tests/golden/tokenizer_bert.jsonl");
  CHECK(compare(WordPiece::load(path), file) > 1500);
}
