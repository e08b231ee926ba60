// The bundled sample corpus is what it claims to be.
#include <algorithm>
#include <cctype>
#include <set>

#include "data/batch.h"
#include "tests/data/files.h"
#include "tests/support/catch.h"

using namespace crisp;

namespace {
const std::string sample_folder = CRISP_SOURCE_DIR "/data/sample";
}

TEST_CASE("sample: sizes, balance, no sentence twice or in both parts") {
  const auto files = find_dataset(sample_folder);
  std::set<std::string> seen;
  for (const auto& [path, size] : {std::pair{files.train, size_t{1700}}, std::pair{files.dev, size_t{300}}}) {
    const auto dataset = read_dataset(path, {.num_labels = 2});
    CHECK(dataset.examples.size() == size);
    const auto favourable =
        std::count_if(dataset.examples.begin(), dataset.examples.end(), [](const auto& e) { return e.label == 1; });
    CHECK(static_cast<size_t>(favourable) == size / 2);
    for (const auto& example : dataset.examples) {
      std::string words;  // the sentence without case and punctuation
      for (const char c : example.text) {
        if (std::isalpha(static_cast<unsigned char>(c)) || c == ' ') words += static_cast<char>(std::tolower(c));
      }
      CHECK(seen.insert(words).second);
    }
  }
}

TEST_CASE("sample: its vocabulary covers the corpus and every ASCII word") {
  const auto tokenizer = WordPiece::load(sample_folder + "/vocab.txt");
  CHECK(tokenizer.pad_id() == 0);
  CHECK(tokenizer.mask_id() == 4);
  CHECK(tokenizer.size() < 1500);
  std::set<std::string> distinct;
  for (int32_t i = 0; i < tokenizer.size(); ++i) distinct.insert(tokenizer.token(i));
  CHECK(distinct.size() == static_cast<size_t>(tokenizer.size()));

  for (const char* name : {"train", "dev"}) {
    const TokenizedDataset data(read_dataset(sample_folder + "/" + name + ".tsv"), tokenizer, 128);
    CHECK(data.truncated() == 0);
    CHECK(data.max_tokens() <= 48);
    for (int32_t i = 0; i < data.size(); ++i) {
      const auto ids = data.ids(i);
      CHECK(std::find(ids.begin(), ids.end(), tokenizer.unk_id()) == ids.end());
    }
  }
  std::string ascii;
  for (char c = 33; c < 127; ++c) ascii += std::string("zq") + c + "xj9 " + c + " ";
  const auto ids = tokenizer.encode(ascii, 100000);
  CHECK(std::find(ids.begin(), ids.end(), tokenizer.unk_id()) == ids.end());
}

TEST_CASE("sample: the pretraining task has all its classes and no sentence of dev") {
  const auto words_of = [](const Example& example) {  // without case and punctuation
    std::string words;
    for (const char c : example.text) {
      if (std::isalpha(static_cast<unsigned char>(c)) || c == ' ') words += static_cast<char>(std::tolower(c));
    }
    return words;
  };
  const auto files = find_dataset(sample_folder);
  std::set<std::string> dev, train, pretraining;
  for (const auto& example : read_dataset(files.dev).examples) dev.insert(words_of(example));
  for (const auto& example : read_dataset(files.train).examples) train.insert(words_of(example));
  const auto topic = find_dataset(sample_folder + "/topic");
  for (const std::string& path : {topic.train, topic.dev}) {
    std::set<int32_t> labels;
    for (const auto& example : read_dataset(path, {.num_labels = 8}).examples) {
      CHECK(dev.count(words_of(example)) == 0);
      CHECK(pretraining.insert(words_of(example)).second);
      if (path == topic.dev) CHECK(train.count(words_of(example)) == 1);
      labels.insert(example.label);
    }
    CHECK(labels.size() == 8);
  }
  CHECK(pretraining.size() > 4000);
}

TEST_CASE("sample: the generator writes the committed files") {
  if (std::system("python3 -c '' >/dev/null 2>&1") != 0) CRISP_SKIP("no python3");
  const TempFolder folder;
  REQUIRE(std::system(("python3 '" + sample_folder + "/generate.py' '" + folder.path() + "'").c_str()) == 0);
  for (const std::string name : {"train.tsv", "dev.tsv", "vocab.txt", "topic/train.tsv", "topic/dev.tsv"}) {
    CHECK(read_file(folder.path(name)) == read_file(sample_folder + "/" + name));
  }
}
