// Reading CoNLL-U: what a sentence becomes, and each mistake with its message.
#include <fmt/format.h>

#include "data/conllu.h"

#include "engine/error.h"
#include "tests/data/conllu_rows.h"
#include "tests/data/files.h"
#include "tests/support/catch.h"

using namespace crisp;

namespace {

std::vector<ParsedSentence> read(std::string_view content) {
  std::vector<ParsedSentence> sentences;
  ParsedSentence sentence;
  for (ConlluReader reader(content, "p.conllu"); reader.next(sentence);) sentences.push_back(sentence);
  return sentences;
}

std::string error(std::string_view content) {
  return message_of<BadInput>([&] { read(content); });
}

std::vector<int32_t> heads(const ParsedSentence& sentence) {
  std::vector<int32_t> result;
  for (const auto& word : sentence.words) result.push_back(word.head);
  return result;
}

std::vector<int32_t> depths(const ParsedSentence& sentence) {
  std::vector<int32_t> result;
  for (const auto& word : sentence.words) result.push_back(word.depth);
  return result;
}

}  // namespace

TEST_CASE("conllu: comments, words, a multiword token, empty nodes, SpaceAfter") {
  const std::string content =
      "# newdoc\n"
      "# sent_id = first-1\n"
      "# text = I don't!\n" +
      row("0.1", "E", "_") + row("1", "I", "2") + row("2-3", "don't", "_", "SpaceAfter=No|Gloss=x") +
      row("2", "do", "0", "SpaceAfter=Yes") + row("3", "n't", "2") + row("3.1", "E", "_") + row("3.2", "E", "_") +
      row("4", "!", "2", "SpaceAfter=Nothing") + row("5", ")", "4") + "\n" + row("1", "Go", "0");
  const auto sentences = read(content);
  REQUIRE(sentences.size() == 2);
  const auto& first = sentences[0];
  CHECK(first.number == 1);
  CHECK(first.where == "p.conllu:1");
  CHECK(first.id == "first-1");
  CHECK(first.text == "I don't! )");
  REQUIRE(first.words.size() == 5);
  CHECK(first.words[1].form == "do");
  CHECK(first.words[2].form == "n't");
  CHECK(heads(first) == std::vector<int32_t>{1, -1, 1, 1, 3});
  CHECK(depths(first) == std::vector<int32_t>{1, 0, 1, 1, 2});
  REQUIRE(first.tokens.size() == 4);
  CHECK(first.text.substr(first.tokens[1].begin, first.tokens[1].end - first.tokens[1].begin) == "don't");
  CHECK(first.tokens[1].first_word == 1);
  CHECK(first.tokens[1].behind_word == 3);
  CHECK(first.tokens[2].first_word == 3);
  CHECK(first.tokens[2].behind_word == 4);

  const auto& second = sentences[1];
  CHECK(second.number == 2);
  CHECK(second.where == "p.conllu:14");
  CHECK(second.id.empty());
  CHECK(second.text == "Go");
}

TEST_CASE("conllu: CRLF, byte order mark, blank lines, no line end at the end, spaces in a form") {
  std::string content = "\xEF\xBB\xBF\n\n" + parsed({"a", "b"}, {0, 1}) + "\n\n# sent_id=x y \n" +
                        row("1", "20 000", "0") + row("2", "\u00e9t\u00e9", "1");
  content.pop_back();
  std::string crlf;
  for (const char c : content) {
    if (c == '\n') crlf += '\r';
    crlf += c;
  }
  for (const auto& sentences : {read(content), read(crlf)}) {
    REQUIRE(sentences.size() == 2);
    CHECK(sentences[0].where == "p.conllu:3");
    CHECK(sentences[0].text == "a b");
    CHECK(sentences[1].text == "20 000 \u00e9t\u00e9");
    CHECK(sentences[1].id == "x y");
    CHECK(heads(sentences[1]) == std::vector<int32_t>{-1, 0});
  }
  CHECK(read("").empty());
  CHECK(read("\n\n").empty());
}

TEST_CASE("conllu: a word's depth is its number of edges to the root, in long chains, too") {
  const int n = 100000;
  std::vector<std::string> forms(n, "x");
  std::vector<int> up(n), down(n);
  for (int i = 0; i < n; ++i) up[static_cast<size_t>(i)] = i, down[static_cast<size_t>(i)] = i + 2;
  down.back() = 0;
  const auto chain = read(parsed(forms, up) + parsed(forms, down));
  CHECK(chain[0].words.back().depth == n - 1);
  CHECK(chain[1].words.front().depth == n - 1);
  CHECK(chain[1].words[5].depth == n - 6);
}

TEST_CASE("conllu: lines that are none") {
  CHECK(error("1\tone\n") ==
        "p.conllu:1: 2 tab-separated columns where CoNLL-U has 10, ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS "
        "MISC");
  CHECK(error("some text\n").starts_with("p.conllu:1: 1 tab-separated column where"));
  CHECK(
      error(fmt::format("\n{}", row("1", "a", "0", "_\t_"))).starts_with("p.conllu:2: 11 tab-separated columns where"));
  CHECK(error(row("1", "a\xff", "0")) ==
        "p.conllu:1: byte 4 of the line (0xFF) is not valid UTF-8; save the file as "
        "UTF-8");
  CHECK(error(row("1", "", "0")) == "p.conllu:1: the FORM of 1 is empty");
  CHECK(error(row("1", "a", "0") + "# text = b\n") ==
        "p.conllu:2: a comment inside a sentence; comments stand above its words, and a blank line ends it");
  CHECK(error(parsed({"a"}, {0}) + "# text = b\n# more\n") ==
        "p.conllu:3: sentence 2 has no words; remove its lines, or the blank line behind them");
  CHECK(error("# text = b\n\n" + parsed({"a"}, {0})).starts_with("p.conllu:1: sentence 1 has no words"));
  CHECK(error(row("0.1", "a", "_")).starts_with("p.conllu:1: sentence 1 has no words"));
}

TEST_CASE("conllu: numbers of words") {
  const std::string none = "' is none of 3, 3-4 or 3.1";
  for (const std::string id : {"", "x", "1x", "+1", " 1", "99999999999", "1-x", "-1", "1-2-3", "1-"}) {
    INFO(id);
    CHECK(error(row(id, "a", "0")) == "p.conllu:1: the ID '" + id + none);
  }
  const std::string due = " is due; words are numbered from 1, and a blank line ends a sentence";
  CHECK(error(row("0", "a", "0")) == "p.conllu:1: word 0 where word 1" + due);
  CHECK(error(row("1", "a", "0") + row("1", "b", "1")) == "p.conllu:2: word 1 where word 2" + due);
  CHECK(error(row("1", "a", "0") + row("3", "b", "1")) == "p.conllu:2: word 3 where word 2" + due);

  const auto empty = [](const std::string& id) { return error(row("1", "a", "0") + row(id, "b", "_")); };
  for (const std::string id : {"1.2", "0.1", "2.1", "1.x", "1.", ".1", "1.1.1"}) {
    CHECK(empty(id) == "p.conllu:2: empty node " + id + " where only 1.1 may stand");
  }

  CHECK(error(row("1", "a", "0") + row("1-2", "ab", "_")) ==
        "p.conllu:2: the range 1-2 stands before word 2, not before its first word");
  CHECK(error(row("1-1", "a", "_")) == "p.conllu:1: the range 1-1 has less than two words");
  CHECK(error(row("1-3", "abc", "_") + row("1", "a", "0") + row("2-3", "bc", "_")) ==
        "p.conllu:3: the range 2-3 begins inside the range that ends with word 3");
  CHECK(error(row("1", "a", "0") + row("2-4", "bcd", "_") + row("2", "b", "1") + row("3", "c", "1")) ==
        "p.conllu:2: the range ends with word 4, but the sentence with word 3");
  CHECK(error(row("1-3", "ab", "_") + row("1-2", "ab", "_")) != "(nothing thrown)");
}

TEST_CASE("conllu: control characters of a file are shown and not obeyed") {
  CHECK(error(row("1\x1b[31m", "a", "0")) == "p.conllu:1: the ID '\"1\\u001b[31m\"' is none of 3, 3-4 or 3.1");
  CHECK(error(row("1", "a", "\x1b[31m")).find('\x1b') == std::string::npos);
  CHECK(error(row("1.\x1b", "a", "0")).find('\x1b') == std::string::npos);
}

TEST_CASE("conllu: heads that are no tree") {
  for (const std::string head : {"_", "", "x", "-1", "1.1", "1 ", "99999999999"}) {
    CHECK(error(row("1", "a", head)) == "p.conllu:1: the HEAD '" + head + "' is no word's number (0 for the root)");
  }
  CHECK(error(parsed({"a", "b"}, {0, 3})) ==
        "p.conllu:2: the HEAD 3 of word 2 is not in its sentence, which has 2 words");
  CHECK(error(parsed({"a"}, {2})) == "p.conllu:1: the HEAD 2 of word 1 is not in its sentence, which has 1 word");
  CHECK(error(parsed({"a", "b", "c"}, {0, 1, 0})) ==
        "p.conllu:3: word 3 is a second root beside word 1; only one word has the HEAD 0");
  CHECK(error(parsed({"a"}, {0}) + "# x\n" + parsed({"a", "b"}, {2, 1})) ==
        "p.conllu:3: sentence 2 has no root: one word needs the HEAD 0");
  const std::string self = " hangs on itself through its heads; they must lead to the root, word ";
  CHECK(error(parsed({"a", "b"}, {0, 2})) == "p.conllu:2: word 2" + self + "1");
  // Word 2 leads into the cycle 3 -> 4 -> 5 -> 3, and the line of word 3 comes after a range.
  CHECK(error(row("1-2", "ab", "_") + row("1", "a", "0") + row("2", "b", "3") + row("3", "c", "4") +
              row("4", "d", "5") + row("5", "e", "3")) == "p.conllu:4: word 3" + self + "1");
}

TEST_CASE("conllu: every sentence of UD English EWT's dev.conllu") {
  const std::string path = datasets_dir() + "/ud-english-ewt/dev.conllu";
  if (!std::filesystem::exists(path)) CRISP_SKIP("no " + path);
  const std::string content = read_file(path);
  // The numbers were counted with Python, by the form of the IDs.
  size_t words = 0, ranges = 0;
  const auto sentences = read(content);
  for (const auto& sentence : sentences) {
    words += sentence.words.size();
    for (const auto& token : sentence.tokens) ranges += token.behind_word - token.first_word > 1;
    for (const auto& word : sentence.words) {
      CHECK(word.depth == (word.head < 0 ? 0 : sentence.words[static_cast<size_t>(word.head)].depth + 1));
    }
  }
  CHECK(sentences.size() == 2001);
  CHECK(words == 25147);
  CHECK(ranges == 359);
  CHECK(sentences.back().number == 2001);
}
