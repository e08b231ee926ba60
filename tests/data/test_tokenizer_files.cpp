// A directory's tokenizer against transformers' AutoTokenizer (tests/golden/make_tokenizer_directories.py), and what is
// written for it against what was read.
#include <fmt/format.h>

#include "data/tokenizer_files.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "tests/data/files.h"
#include "tests/support/catch.h"

namespace {

using crisp::BadInput;
using crisp::read_tokenizer;
using crisp::TokenizerFiles;
using nlohmann::ordered_json;

// The golden file's own vocabulary as the lines of a vocab.txt and as the object of a tokenizer.json.
struct Golden {
  std::vector<ordered_json> cases;
  std::string lines, object;

  Golden() {
    std::ifstream file(CRISP_SOURCE_DIR "/tests/golden/tokenizer_directories.json");
    const auto all = ordered_json::parse(file);
    ordered_json ids;
    for (const auto& word : all[0]["words"]) {
      ids[word.get<std::string>()] = ids.size();
      lines += word.get<std::string>() + "\n";
    }
    object = ids.dump();
    cases.assign(all.begin() + 1, all.end());
  }

  std::string fill_in(std::string text) const {
    for (const auto& [mark, value] : {std::pair{"$vocab", lines}, {"$json", object}})
      if (const size_t at = text.find(mark); at != std::string::npos) text.replace(at, std::strlen(mark), value);
    return text;
  }
};

void compare(const crisp::WordPiece& tokenizer, const ordered_json& expected) {
  const int max_length = expected.value("max_length", 100000);
  for (size_t i = 0; i < expected["texts"].size(); ++i) {
    const auto text = expected["texts"][i].get<std::string>();
    const auto ids = expected["ids"][i].get<std::vector<int32_t>>();
    CAPTURE(text);
    CHECK(tokenizer.encode(text, max_length) == ids);
    std::vector<int32_t> with_offsets;
    for (const auto& token : tokenizer.encode_with_offsets(text, max_length)) with_offsets.push_back(token.id);
    CHECK(with_offsets == ids);
  }
}

void write(const std::string& directory, const TokenizerFiles& files) {
  std::filesystem::create_directories(directory);
  for (const auto& [name, content] : crisp::tokenizer_documents(files, 4096))
    std::ofstream(directory + "/" + name, std::ios::binary) << content;
}

const std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nThe\n##s\n";

// What read_tokenizer says against a directory with these files.
template <class E = BadInput>
std::string refusal(const std::vector<std::pair<std::string, std::string>>& files) {
  const TempFolder folder;
  for (const auto& [name, content] : files) folder.write(name, content);
  std::string message = message_of<E>([&] { read_tokenizer(folder.path()).tokenizer(); });
  for (size_t at = message.find(folder.path()); at != std::string::npos; at = message.find(folder.path(), at))
    message.replace(at, folder.path().size() + 1, "");
  return message;
}

std::vector<std::string> notes(const std::vector<std::pair<std::string, std::string>>& files) {
  const TempFolder folder;
  for (const auto& [name, content] : files) folder.write(name, content);
  return read_tokenizer(folder.path()).notes;
}

std::string whole_file(const std::string& model, const std::string& more = "") {
  return R"({"model": )" + model + more + "}";
}

const std::string word_piece =
    R"({"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "the": 4}})";

}  // namespace

// With CRISP_KEEP_TOKENIZERS=DIR the directories written here stay in DIR.
TEST_CASE("tokenizer files: the ids of transformers, from what it reads and from what is written for it") {
  const Golden golden;
  const char* keep = std::getenv("CRISP_KEEP_TOKENIZERS");
  CHECK(golden.cases.size() > 30);
  for (const ordered_json& expected : golden.cases) {
    const auto name = expected["name"].get<std::string>();
    CAPTURE(name);
    const TempFolder read, written;
    for (const auto& [file, text] : expected["files"].items())
      read.write(file, golden.fill_in(text.get<std::string>()));
    const TokenizerFiles files = read_tokenizer(read.path());
    compare(files.tokenizer(), expected);

    write(written.path(), files);
    const TokenizerFiles again = read_tokenizer(written.path());
    compare(again.tokenizer(), expected);
    CHECK(again.model_max_length == 4096);
    CHECK(crisp::tokenizer_documents(again, 4096) == crisp::tokenizer_documents(files, 4096));
    if (keep != nullptr) write(std::string(keep) + "/" + name, files);
  }
}

TEST_CASE("tokenizer files: another vocabulary that is asked for") {
  const TempFolder model, other;
  model.write("vocab.txt", vocabulary);
  model.write("tokenizer_config.json", R"({"do_lower_case": false, "model_max_length": 7})");
  const std::string path = other.write("words.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nThe\n");
  const TokenizerFiles files = read_tokenizer(model.path(), path);
  CHECK(files.path == path);
  CHECK(files.model_max_length == 7);
  CHECK(files.tokenizer().encode("The the", 10) == std::vector<int32_t>{2, 4, 1, 3});
  // Settings beside it count more than those of the model.
  other.write("tokenizer_config.json", "{}");
  CHECK(read_tokenizer(model.path(), path).tokenizer().encode("The the", 10) == std::vector<int32_t>{2, 1, 1, 3});
  const std::string json = other.write("words.json", whole_file(word_piece));
  CHECK(read_tokenizer(model.path(), json).tokenizer().encode("The the", 10) == std::vector<int32_t>{2, 4, 4, 3});
  CHECK(read_tokenizer(other.path()).path.empty());
  CHECK(message_of<BadInput>([&] {
          read_tokenizer(model.path(), other.path("none.txt"));
        }).starts_with(other.path("none.txt") + ": cannot be opened"));
}

TEST_CASE("tokenizer files: a named token that the vocabulary lacks has an id where another one is added after it") {
  const TempFolder folder, written;
  folder.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n");
  CHECK(read_tokenizer(folder.path()).tokenizer().mask_id() == -1);
  folder.write("special_tokens_map.json", R"({"additional_special_tokens": ["<s>"]})");
  const TokenizerFiles files = read_tokenizer(folder.path());
  const std::vector<int32_t> ids{2, 5, 6, 4, 3};
  CHECK(files.tokenizer().encode("[MASK] <s> the", 10) == ids);
  write(written.path(), files);
  CHECK(read_tokenizer(written.path()).tokenizer().encode("[MASK] <s> the", 10) == ids);
}

TEST_CASE("tokenizer files: what is written makes no token special that was not") {
  const TempFolder folder, written;
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "TokenizersBackend", "split_special_tokens": true})");
  folder.write("tokenizer.json", whole_file(word_piece, R"(, "pre_tokenizer": {"type": "BertPreTokenizer"},
                          "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
                          "added_tokens": [{"id": 2, "content": "[CLS]"}, {"id": 3, "content": "[SEP]", "special": true}])"));
  const TokenizerFiles files = read_tokenizer(folder.path());
  const std::vector<int32_t> ids{2, 2, 1, 1, 1, 3};
  CHECK(files.tokenizer().encode("[CLS] [SEP]", 10) == ids);
  write(written.path(), files);
  CHECK(read_tokenizer(written.path()).tokenizer().encode("[CLS] [SEP]", 10) == ids);
}

TEST_CASE("tokenizer files: a byte order mark and blank lines") {
  const TempFolder folder;
  folder.write("vocab.txt", "\xEF\xBB\xBF" + vocabulary + "\n");
  const TokenizerFiles files = read_tokenizer(folder.path());
  CHECK(files.tokenizer().pad_id() == 0);
  CHECK(files.tokenizer().size() == 9);
  CHECK(files.tokenizer().largest_id() == 7);
}

TEST_CASE("tokenizer files: what is refused, by name") {
  const auto refuses = [](const std::vector<std::pair<std::string, std::string>>& files, const std::string& message) {
    CHECK(refusal(files) == message);
  };
  const std::string fast = R"({"tokenizer_class": "PreTrainedTokenizerFast"})";
  refuses({{"tokenizer.json", whole_file(R"({"type": "BPE", "vocab": {}, "merges": []})")}},
          "tokenizer.json: a tokenizer of kind \"BPE\" is not supported; only WordPiece is");
  refuses({{"vocab.txt", vocabulary}, {"tokenizer_config.json", R"({"tokenizer_class": "RobertaTokenizerFast"})"}},
          "tokenizer_config.json: the tokenizer_class \"RobertaTokenizerFast\" is not supported; only BertTokenizer or "
          "DistilBertTokenizer (WordPiece) is");
  refuses({{"vocab.txt", vocabulary}, {"config.json", R"({"tokenizer_class": "BertJapaneseTokenizer"})"}},
          "config.json: the tokenizer_class \"BertJapaneseTokenizer\" is not supported; only BertTokenizer or "
          "DistilBertTokenizer (WordPiece) is");
  refuses({{"tokenizer.json", whole_file(word_piece, R"(, "normalizer": {"type": "NFKC"})")},
           {"tokenizer_config.json", fast}},
          "tokenizer.json: the normalizer \"NFKC\" is not supported; only BertNormalizer, Lowercase or none is");
  refuses({{"tokenizer.json", whole_file(word_piece)}, {"tokenizer_config.json", fast}},
          "tokenizer.json: the pre_tokenizer \"null\" is not supported; only BertPreTokenizer is");
  refuses({{"tokenizer.json", whole_file(word_piece, R"(, "pre_tokenizer": {"type": "BertPreTokenizer"})")},
           {"tokenizer_config.json", fast}},
          "tokenizer.json: the post_processor \"null\" is not supported; only BertProcessing, or TemplateProcessing of "
          "one token, the sentence and one token, is");
  refuses({{"tokenizer.json", "[]"}}, "tokenizer.json: expected a JSON object, not []");
  refuses({{"tokenizer.json", "{}"}}, "tokenizer.json: \"model\" is missing");
  refuses({{"tokenizer.json", whole_file(R"({"vocab": {"a": 0, "b": 0}})")}},
          "tokenizer.json: two tokens have the id 0");
  refuses({{"tokenizer.json", whole_file(R"({"vocab": {"a": 99999999}})")}},
          "tokenizer.json: \"vocab\" is 99999999; it must be a whole number from 0 to 1048576");
  refuses({{"vocab.txt", vocabulary}, {"added_tokens.json", R"({"covid": 40})"}},
          "added_tokens.json: the added token \"covid\" is stated to have the id 40, but Hugging Face's tokenizers "
          "give it 8: "
          "the files of this tokenizer do not belong together");
  refuses({{"vocab.txt", vocabulary + "[UNK]\nlast\n"}, {"added_tokens.json", R"({"covid": 9})"}},
          "added_tokens.json: the vocabulary has a token twice, so that the added token \"covid\" gets the id 9 in "
          "Hugging Face's tokenizers, which \"last\" has already");
  refuses({{"vocab.txt", vocabulary}, {"tokenizer_config.json", R"({"do_lower_case": "no"})"}},
          "tokenizer_config.json: \"do_lower_case\" is \"no\"; it must be true or false");
  refuses({{"vocab.txt", vocabulary}, {"tokenizer_config.json", R"({"truncation_side": "up"})"}},
          "tokenizer_config.json: \"truncation_side\" is \"up\"; it must be left or right");
  refuses({{"vocab.txt", vocabulary}, {"tokenizer_config.json", R"({"cls_token": "<s>"})"}},
          "vocab.txt: no <s> (which tokenizer_config.json names) among its 8 tokens; expected the vocabulary of a BERT "
          "model, one token per line");
  refuses({{"vocab.txt", vocabulary}, {"special_tokens_map.json", R"({"sep_token": {"content": "</s>"}})"}},
          "vocab.txt: no </s> (which special_tokens_map.json names) among its 8 tokens; expected the vocabulary of a "
          "BERT model, one token per line");
  refuses(
      {{"vocab.txt", vocabulary}, {"tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "a"}}})"}},
      "tokenizer_config.json: \"added_tokens_decoder\" has the key \"x\"; it must be an id");
  refuses(
      {{"vocab.txt", vocabulary}, {"tokenizer_config.json", R"({"added_tokens_decoder": {"8": {"special": true}}})"}},
      "tokenizer_config.json, added_tokens_decoder: \"content\" is missing");
}

TEST_CASE("tokenizer files: added tokens that are one text once normalised make a note") {
  const auto with = [](const char* first, const char* second) {
    const TempFolder folder;
    folder.write("vocab.txt", vocabulary);
    folder.write("tokenizer_config.json", "{}");
    folder.write("added_tokens.json", fmt::format(R"({{"{}": 8, "{}": 9}})", first, second));
    return read_tokenizer(folder.path()).tokenizer().notes();
  };
  CHECK(with("hello", "bye").empty());
  const std::vector<std::string> two = with("hello", "Hello");
  REQUIRE(two.size() == 1);
  CHECK(two[0].find("the added tokens \"hello\" and \"Hello\" are one text once normalised") != std::string::npos);
}

TEST_CASE("tokenizer files: guesses and contradictions are said") {
  const std::pair<std::string, std::string> config{"tokenizer_config.json", "{}"};
  CHECK(notes({{"vocab.txt", vocabulary}, config}).empty());
  const auto guess = notes({{"vocab.txt", vocabulary}});
  REQUIRE(guess.size() == 1);
  CHECK(guess[0].find("has no tokenizer_config.json beside it: taking it for an uncased tokenizer's, though it holds "
                      "tokens with capital letters") != std::string::npos);
  const auto two = notes({{"vocab.txt", vocabulary}, {"tokenizer.json", whole_file(word_piece)}, config});
  REQUIRE(two.size() == 1);
  CHECK(two[0].find("hold different vocabularies; the second is used") != std::string::npos);
  const auto other = notes({{"tokenizer.json", whole_file(word_piece, R"(, "normalizer": {"type": "BertNormalizer",
                            "lowercase": false}, "pre_tokenizer": {"type": "BertPreTokenizer"})")},
                            config});
  REQUIRE(other.size() == 1);
  CHECK(other[0].find("its lowercase false (true is used) does not count") != std::string::npos);
  const auto never = notes({{"vocab.txt", vocabulary}, {"tokenizer_config.json", R"({"never_split": ["a"]})"}});
  REQUIRE(never.size() == 1);
  CHECK(never[0].find("have no effect") != std::string::npos);
}
