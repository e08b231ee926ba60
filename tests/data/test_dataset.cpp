// Reading datasets: each format, each line end, each mistake with its message.
#include "data/dataset.h"

#include "engine/error.h"
#include "tests/data/files.h"
#include "tests/support/catch.h"

using namespace crisp;

namespace {

// "text=label|text=label", with the newline-free texts of the tests.
std::string read(std::string_view content, const ReadOptions& options = {}) {
  std::string shown;
  for (const auto& example : parse_dataset(content, "d.tsv", options).examples) {
    shown += (shown.empty() ? "" : "|") + example.text + "=" + std::to_string(example.label);
  }
  return shown;
}

std::string error(std::string_view content, const ReadOptions& options = {}) {
  return message_of<BadInput>([&] { parse_dataset(content, "d.tsv", options); });
}

}  // namespace

TEST_CASE("dataset: GLUE's SST-2, labelled and not") {
  CHECK(read("sentence\tlabel\ngood film \t1\nbad film\t0\n") == "good film =1|bad film=0");
  CHECK(read("index\tsentence\n0\tgood film\n1\tbad film\n") == "good film=-1|bad film=-1");
  CHECK(read("label\ttext\tid\n2\tthird\t9\n") == "third=2");
  CHECK(read("sentence\njust text\n") == "just text=-1");
  const auto dataset = parse_dataset("sentence\tlabel\na\t1\nb\t0\n", "d.tsv");
  CHECK(dataset.path == "d.tsv");
  CHECK(dataset.num_labels == 2);
  CHECK(dataset.labelled());
  CHECK(parse_dataset("index\tsentence\n0\ta\n", "d.tsv").num_labels == 0);
  CHECK_FALSE(parse_dataset("index\tsentence\n0\ta\n", "d.tsv").labelled());
  CHECK(parse_dataset("sentence\tlabel\na\t1\n", "d.tsv", {.num_labels = 5}).num_labels == 5);
}

TEST_CASE("dataset: CRLF, byte order mark, no newline at the end, blank lines at the end") {
  CHECK(read("\xEF\xBB\xBFsentence\tlabel\r\na\t1\r\nb\t0") == "a=1|b=0");
  CHECK(read("sentence\tlabel\na\t1\n\n\r\n\n") == "a=1");
  CHECK(read("\xEF\xBB\xBF{\"text\":\"a\"}") == "a=-1");
}

TEST_CASE("dataset: each example knows its line") {
  const auto lines = [](std::string_view content) {
    std::vector<int32_t> result;
    for (const auto& example : parse_dataset(content, "d.tsv").examples) result.push_back(example.line);
    return result;
  };
  CHECK(lines("sentence\tlabel\r\na\t1\r\nb\t0") == std::vector<int32_t>{2, 3});
  CHECK(lines("a\t1\nb\t0\n\n") == std::vector<int32_t>{1, 2});
  CHECK(lines("{\"text\":\"a\"}\n{\"text\":\"b\"}\n") == std::vector<int32_t>{1, 2});
}

TEST_CASE("dataset: quotes, spaces and empty sentences are taken as they are") {
  CHECK(read("sentence\tlabel\n\"quoted\t1\n'it''s \\t'\t0\n\t1\n") == "\"quoted=1|'it''s \\t'=0|=1");
  CHECK(read("sentence\tlabel\ncaf\u00e9 \u6f22\t1\n") == "caf\u00e9 \u6f22=1");
}

TEST_CASE("dataset: two columns without a header") {
  CHECK(read("good film\t1\nbad film\t0\n") == "good film=1|bad film=0");
  CHECK(read("text\t1\n") == "text=1");  // a name of a column, but the other is none
}

TEST_CASE("dataset: JSON lines") {
  CHECK(read("{\"text\": \"a\\tb\", \"label\": 1}\n{\"sentence\": \"\\u00e9\", \"label\": 0, \"more\": []}\n") ==
        "a\tb=1|\u00e9=0");
  CHECK(read("{\"text\": \"a\"}\n{\"text\": \"b\"}\n") == "a=-1|b=-1");
}

TEST_CASE("dataset: plain text only where it is allowed") {
  CHECK(read("one line\n\nanother\n", {.allow_plain_text = true}) == "one line=-1|=-1|another=-1");
  CHECK(
      error("one line\nanother\n") ==
      "d.tsv:1: unknown format; expected a header `sentence<TAB>label` or `text,label`, or lines `text<TAB>label`, or "
      "JSON lines like {\"text\": \"...\", \"label\": 0}");
}

TEST_CASE("dataset: where plain text is allowed, a sentence may be the name of a column") {
  CHECK(read("text\n", {.allow_plain_text = true}) == "text=-1");
  CHECK(read("sentence\nanother\n", {.allow_plain_text = true}) == "sentence=-1|another=-1");
  CHECK(read("index\tsentence\n0\ta\n", {.allow_plain_text = true}) == "a=-1");
}

TEST_CASE("dataset: a format that is given is not guessed") {
  const ReadOptions text{.format = TextFormat::text}, tsv{.format = TextFormat::tsv},
      jsonl{.format = TextFormat::jsonl};
  CHECK(read("sentence\tlabel\n{curly\na\tb\n", text) == "sentence\tlabel=-1|{curly=-1|a\tb=-1");
  CHECK(read("sentence\na\n", tsv) == "a=-1");
  CHECK(read("{curly\t1\n", tsv) == "{curly=1");
  CHECK(error("one column\n", tsv) ==
        "d.tsv:1: unknown format; expected a header `sentence<TAB>label`, or lines `text<TAB>label`");
  CHECK(read("{\"text\": \"a\"}\n", jsonl) == "a=-1");
  CHECK(error("a\t1\n", jsonl).starts_with("d.tsv:1:1: this is not JSON"));
}

TEST_CASE("dataset: nothing at all only where it is allowed") {
  for (const std::string_view content : {"", "\xEF\xBB\xBF", "sentence\tlabel\n"}) {
    CHECK(read(content, {.allow_empty = true}).empty());
    CHECK_FALSE(parse_dataset(content, "d.tsv", {.allow_empty = true}).labelled());
  }
}

TEST_CASE("dataset: mistakes are reported with file and line") {
  const std::string head = "sentence\tlabel\ngood\t1\n";
  CHECK(error(head + "no label\n") == "d.tsv:3: 1 tab-separated column where 2 are expected");
  CHECK(error(head + "a\tb\t1\n") == "d.tsv:3: 3 tab-separated columns where 2 are expected");
  CHECK(error(head + "\nmore\t1\n") == "d.tsv:3: 1 tab-separated column where 2 are expected");
  CHECK(
      error(head + "a\tpositive\n") ==
      "d.tsv:3: the label is the word \"positive\", but d.tsv:2 has the number 1; labels are all numbers or all words");
  CHECK(error(head + "a\t1.5\n") ==
        "d.tsv:3: the label \"1.5\" is no whole number; classes are numbered from 0 (regression is not supported)");
  CHECK(error(head + "a\t\n") == "d.tsv:3: lacks a label, unlike the lines before it");
  CHECK(error(head + "a\t-1\n") == "d.tsv:3: lacks a label (-1 means none), unlike the lines before it");
  CHECK(error(head + "a\t-2\n") == "d.tsv:3: the label -2 is out of range; labels are 0..9999, without gaps");
  CHECK(error(head + "a\t10000\n") == "d.tsv:3: the label 10000 is out of range; labels are 0..9999, without gaps");
  CHECK(error(head + "a\t99999999999999999999\n") ==
        "d.tsv:3: the label 99999999999999999999 is out of range; labels are 0..9999, without gaps");
  CHECK(error(head + "a\t2\n", {.num_labels = 2}) ==
        "d.tsv:3: the label 2 is out of range; 2 classes are numbered 0..1");
  CHECK(error(head + "caf\xe9\t1\n") ==
        "d.tsv:3: byte 4 of the line (0xE9) is not valid UTF-8; save the file as UTF-8");
  CHECK(error("\xff\xfes\0e\0") == "d.tsv: is UTF-16, not text; save it as UTF-8");
  for (const std::string empty : {"", "\xEF\xBB\xBF", "sentence\tlabel\n", "sentence\tlabel\n\n", "text,label"})
    CHECK(error(empty) == "d.tsv: holds no examples");
  CHECK(error("good\t1\nbad\tx\n") ==
        "d.tsv:2: the label is the word \"x\", but d.tsv:1 has the number 1; labels are all numbers or all words");
}

TEST_CASE("dataset: mistakes in JSON lines") {
  const std::string head = "{\"text\": \"a\", \"label\": 1}\n";
  CHECK(error(head + "{\"text\": \"b\"") == "d.tsv:2:13: the JSON ends before it is complete");
  CHECK(error(head + "\n" + head) == "d.tsv:2:1: the JSON ends before it is complete");
  CHECK(error(head + "[1]\n") == "d.tsv:2: expected a JSON object with \"text\" and \"label\"");
  CHECK(error(head + "{\"label\": 1}\n") == "d.tsv:2: expected a \"text\" or a \"sentence\" in the object");
  CHECK(error(head + "{\"text\": \"a\", \"sentence\": \"b\"}\n") ==
        "d.tsv:2: expected only one of \"text\" and \"sentence\" in the object");
  CHECK(error(head + "{\"text\": 5, \"label\": 1}\n") == "d.tsv:2: the text is no JSON string, but 5");
  CHECK(error(head + "{\"text\": \"b\", \"label\": [1]}\n") ==
        "d.tsv:2: the label is [1]; it must be a number or a word");
  CHECK(error(head + "{\"text\": \"b\", \"label\": true}\n") ==
        "d.tsv:2: the label is the word \"true\", but d.tsv:1 has the number 1; labels are all numbers or all words");
  CHECK(error(head + "{\"text\": \"b\", \"label\": -1}\n") ==
        "d.tsv:2: lacks a label (-1 means none), unlike the lines before it");
  CHECK(error(head + "{\"text\": \"b\", \"label\": 18446744073709551615}\n") ==
        "d.tsv:2: the label 18446744073709551615 is out of range; labels are 0..9999, without gaps");
  CHECK(error(head + "{\"text\": \"b\"}\n") == "d.tsv:2: lacks a label, unlike the lines before it");
  CHECK(error("{\"text\": \"b\"}\n" + head) == "d.tsv:2: has a label, unlike the lines before it");
}

TEST_CASE("dataset: files and folders") {
  const TempFolder folder;
  CHECK(message_of<BadInput>([&] { read_dataset(folder.path("none.tsv")); }) ==
        folder.path("none.tsv") + ": cannot be opened: No such file or directory");
  CHECK(message_of<BadInput>([&] { find_dataset(folder.path("none")); }) == folder.path("none") + ": no such folder");
  CHECK(message_of<BadInput>([&] { find_dataset(folder.path()); }) ==
        folder.path() + ": no dataset here; expected train.tsv and dev.tsv (or train.jsonl and dev.jsonl)");

  const auto train = folder.write("train.tsv", "sentence\tlabel\na\t1\n");
  CHECK(find_dataset(folder.path()).train == train);
  CHECK(find_dataset(folder.path()).dev.empty());
  CHECK(read_dataset(train).examples.size() == 1);

  const auto dev = folder.write("validation.jsonl", "{\"text\": \"a\"}\n");
  CHECK(find_dataset(folder.path()).dev == dev);
  CHECK(find_dataset(folder.path()).train_parses.empty());
  CHECK(find_dataset(folder.path()).dev_parses.empty());
  const auto train_parses = folder.write("train.conllu", ""), dev_parses = folder.write("validation.conllu", "");
  CHECK(find_dataset(folder.path()).train_parses == train_parses);
  CHECK(find_dataset(folder.path()).dev_parses == dev_parses);
  const auto second = folder.write("dev.conllu", "");
  CHECK(message_of<BadInput>([&] { find_dataset(folder.path()); }) ==
        second + " and " + dev_parses + ": which of the two is meant? Remove one");
  std::filesystem::remove(second);
  folder.write("dev.tsv", "a\t1\n");
  CHECK(message_of<BadInput>([&] { find_dataset(folder.path()); }) ==
        folder.path("dev.tsv") + " and " + dev + ": which of the two is meant? Remove one");
}

TEST_CASE("dataset: the whole of SST-2") {
  const std::string path = datasets_dir() + "/sst2";
  if (!std::filesystem::exists(path)) CRISP_SKIP("no " + path);
  const auto files = find_dataset(path);
  const auto train = read_dataset(files.train), dev = read_dataset(files.dev, {.num_labels = 2});
  CHECK(train.examples.size() == 67349);
  CHECK(train.num_labels == 2);
  CHECK(dev.examples.size() == 872);
  CHECK(dev.examples[0].text == "it 's a charming and often affecting journey . ");
  CHECK(dev.examples[0].label == 1);
}
