// WordPiece rule by rule, with a vocabulary small enough to read.
#include "data/wordpiece.h"

#include <atomic>

#include "engine/cpu/threads/team.h"
#include "engine/error.h"
#include "tests/data/files.h"
#include "tests/support/catch.h"

using crisp::BadInput;
using crisp::WordPiece;

namespace {

WordPiece tiny() {
  return WordPiece::from_tokens({"[PAD]",   "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un",  "##aff", "##able",
                                 "affable", "the",   "a",     "##a",   "e",      "##e", "cafe",  ",",
                                 "!",       "[",     "]",     "漢",    "字",     "x",   "##x",   "##é",
                                 "й",       "$",     "€",     "mask",  "cl",     "##s"});
}

// The tokens between [CLS] and [SEP], joined by spaces.
std::string tokens(const WordPiece& tokenizer, std::string_view text, int max_length = 1000) {
  std::string result;
  const auto ids = tokenizer.encode(text, max_length);
  REQUIRE(ids.size() >= 2);
  CHECK(ids.front() == tokenizer.cls_id());
  CHECK(ids.back() == tokenizer.sep_id());
  for (size_t i = 1; i + 1 < ids.size(); ++i) result += (i > 1 ? " " : "") + tokenizer.token(ids[i]);
  return result;
}

const std::string specials = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";

}  // namespace

TEST_CASE("wordpiece: the longest match wins, and one failure makes the whole word unknown") {
  const auto t = tiny();
  CHECK(tokens(t, "unaffable") == "un ##aff ##able");
  CHECK(tokens(t, "affable") == "affable");
  CHECK(tokens(t, "UnAffAble") == "un ##aff ##able");
  CHECK(tokens(t, "unaffablez the") == "[UNK] the");
  CHECK(tokens(t, "thex") == "the ##x");
  CHECK(tokens(t, "") == "");
  CHECK(tokens(t, " \t\r\n") == "");
}

TEST_CASE("wordpiece: punctuation is a word of its own, the euro sign is none") {
  const auto t = tiny();
  CHECK(tokens(t, "the,a!a") == "the , a ! a");
  CHECK(tokens(t, "a$a") == "a $ a");
  CHECK(tokens(t, "a€a") == "[UNK]");
  CHECK(tokens(t, "€") == "€");
}

TEST_CASE("wordpiece: accents are dropped, control characters vanish, odd spaces separate") {
  const auto t = tiny();
  CHECK(tokens(t, "caf\u00e9") == "cafe");
  CHECK(tokens(t, "CAFE\u0301") == "cafe");
  CHECK(tokens(t,
               "caf\x0b"
               "e") == "cafe");              // vertical tab joins
  CHECK(tokens(t, "caf\u0085e") == "cafe");  // so does NEL
  CHECK(tokens(t, "caf\u200be") == "cafe");  // zero-width space, a format character
  CHECK(tokens(t, std::string_view("ca\0fe", 5)) == "cafe");
  CHECK(tokens(t,
               "the\u00a0a\u3000a\u2028"
               "e") == "the a a e");
  CHECK(tokens(t, "\u0419") == "[UNK]");  // decomposes to another letter + accent, so the whole letter is never seen
}

TEST_CASE("wordpiece: ideographs stand alone") {
  const auto t = tiny();
  CHECK(tokens(t, "漢字") == "漢 字");
  CHECK(tokens(t, "the漢the") == "the 漢 the");
}

TEST_CASE("wordpiece: special tokens are recognised in the raw text, exactly as written") {
  const auto t = tiny();
  CHECK(tokens(t, "the[MASK]a") == "the [MASK] a");
  CHECK(tokens(t, "[SEP][CLS][PAD][UNK]") == "[SEP] [CLS] [PAD] [UNK]");
  CHECK(tokens(t, "[mask]") == "[ mask ]");
  CHECK(tokens(t, "[[CLS]") == "[ [CLS]");
  CHECK(tokens(t, "[CLS") == "[ cl ##s");
  CHECK(tokens(t, "e[SEP]\u0301e") == "e [SEP] e");
}

TEST_CASE("wordpiece: a word of more than 100 characters is unknown") {
  const auto t = tiny();
  const auto words = [&](size_t n) { return t.encode(std::string(n, 'x'), 1000).size() - 2; };
  CHECK(words(100) == 100);
  CHECK(words(101) == 1);
  CHECK(tokens(t, std::string(101, 'x') + " a") == "[UNK] a");
  std::string accented;
  for (int i = 0; i < 100; ++i) accented += "e\u0301";  // 100 characters once the accents are gone
  CHECK(t.encode(accented, 1000).size() == 102);
  CHECK(tokens(t, accented + "e") == "[UNK]");
}

TEST_CASE("wordpiece: truncation cuts on the right and says so") {
  const auto t = tiny();
  std::vector<int32_t> ids;
  CHECK_FALSE(t.encode_to("the a e", 5, ids));
  CHECK(tokens(t, "the a e", 5) == "the a e");
  ids.clear();
  CHECK(t.encode_to("the a e", 4, ids));
  CHECK(tokens(t, "the a e", 4) == "the a");
  CHECK(tokens(t, "unaffable", 4) == "un ##aff");  // in the middle of a word, too
  CHECK(tokens(t, "the", 2) == "");
  CHECK_THROWS_AS(t.encode("the", 1), crisp::UsageError);
  CHECK_THROWS_AS(t.encode_with_offsets("the", 1), crisp::UsageError);
}

TEST_CASE("wordpiece: offsets point into the original bytes") {
  const auto t = tiny();
  const std::string text = "UNaffable  caf\u00e9, [SEP]漢";
  std::string shown;
  for (const auto& token : t.encode_with_offsets(text, 100)) {
    shown += "<" + t.token(token.id) + "=" + text.substr(token.begin, token.end - token.begin) + ">";
  }
  CHECK(shown == "<[CLS]=><un=UN><##aff=aff><##able=able><cafe=caf\u00e9><,=,><[SEP]=[SEP]><漢=漢><[SEP]=>");
}

TEST_CASE("wordpiece: every token is explained, and what remains is what is encoded") {
  using Rule = crisp::ExplainedToken::Rule;
  const auto t = tiny();
  const std::string text = "  Una\u0301ffable [MASK] thex \u6f22\u5b57 a\u0001\u20aca " + std::string(101, 'x');
  const auto all = t.explain(text, 1000);
  REQUIRE(all.size() == 12);
  CHECK(all.front().rule == Rule::frame);
  CHECK(all.back().rule == Rule::frame);
  CHECK(t.token(all[1].span.id) == "un");
  CHECK(all[1].rule == Rule::piece);
  CHECK(all[4].rule == Rule::added);
  const auto& no_piece = all[9];  // a, then nothing that begins with the euro sign
  CHECK(no_piece.span.id == t.unk_id());
  CHECK(no_piece.rule == Rule::no_piece);
  CHECK(no_piece.unmatched == text.find("\u20ac"));
  const auto& long_word = all[10];
  CHECK(long_word.span.id == t.unk_id());
  CHECK(long_word.rule == Rule::long_word);
  CHECK(long_word.characters == 101);
  CHECK(WordPiece::from_tokens({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"}).explain("aa", 9)[1].unmatched == 1);

  // One that the text itself names is none of the tokenizer's failures.
  CHECK(t.explain("[UNK]", 9)[1].rule == Rule::added);

  crisp::TokenizerSettings left;
  left.truncate_left = true;
  const WordPiece from_left({{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "the", "x"}, 10},
                            left);
  for (const WordPiece* tokenizer : {&t, &from_left})
    for (const int max_length : {2, 3, 5, 12, 13, 1000}) {
      const auto kept = tokenizer->encode_with_offsets(text, max_length);
      size_t i = 0;
      for (const auto& token : tokenizer->explain(text, max_length)) {
        if (token.cut) continue;
        REQUIRE(i < kept.size());
        CHECK(token.span.id == kept[i].id);
        CHECK(token.span.begin == kept[i].begin);
        CHECK(token.span.end == kept[i].end);
        ++i;
      }
      CHECK(i == kept.size());
    }
  CHECK_THROWS_AS(t.explain("a", 1), crisp::UsageError);
}

TEST_CASE("wordpiece: bytes that are no UTF-8 are ignored") {
  const auto t = tiny();
  CHECK(tokens(t,
               "th\xff\xc3"
               "e") == "the");
  CHECK(tokens(t, "the\xe2\x82") == "the");
  CHECK(tokens(t,
               "\xed\xa0\x80"
               "a") == "a");  // a surrogate
}

TEST_CASE("wordpiece: several threads may encode at once") {
  const auto t = tiny();
  const auto expected = t.encode("unaffable caf\u00e9 漢", 100);
  std::atomic<int> wrong = 0;
  crisp::on_team(4, [&](const crisp::Team&) {
    for (int i = 0; i < 500; ++i) wrong += t.encode("unaffable caf\u00e9 漢", 100) != expected;
  });
  CHECK(wrong == 0);
}

TEST_CASE("wordpiece: a vocabulary's ids are its line numbers") {
  const TempFolder folder;
  // Blank lines count, white space at the end of a line does not, CRLF is a line end, the last line needs none.
  const auto t =
      WordPiece::load(folder.write("vocab.txt", "[PAD]\n\n[UNK]\r\n[CLS]  \n[SEP]\u00a0\nthe\ntwice\ntwice\nend"));
  CHECK(t.size() == 9);
  CHECK(t.pad_id() == 0);
  CHECK(t.unk_id() == 2);
  CHECK(t.cls_id() == 3);
  CHECK(t.sep_id() == 4);
  CHECK(t.mask_id() == -1);
  CHECK(t.id("the") == 5);
  CHECK(t.id("end") == 8);
  CHECK(t.id("twice") == 7);  // the later line, as in HF
  CHECK(t.id("nothing") == -1);
  CHECK(t.id("th") == -1);
  CHECK(t.token(5) == "the");
  CHECK_THROWS_AS(t.token(9), crisp::Error);
  CHECK_THROWS_AS(t.token(-1), crisp::Error);
}

TEST_CASE("wordpiece: without ## pieces every word must be in the vocabulary as it is") {
  const auto t = WordPiece::from_tokens({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "the"});
  CHECK(tokens(t, "the thethe [MASK]") == "the [UNK] [UNK] [UNK] [UNK]");
}

TEST_CASE("wordpiece: a file that is no vocabulary is refused with its name and line") {
  const TempFolder folder;
  const auto error = [&](const std::string& content) {
    const auto path = folder.write("vocab.txt", content);
    const auto message = message_of<BadInput>([&] { WordPiece::load(path); });
    return message.starts_with(path) ? message.substr(path.size()) : message;
  };
  CHECK(error("") == ": the vocabulary is empty; expected one token per line");
  CHECK(error("[PAD]\n[UNK]\n[CLS]\nthe\n") ==
        ": no [SEP] among its 4 tokens; expected the vocabulary of a BERT model, one token per line");
  CHECK(error("the\na\n").starts_with(": no [PAD], [UNK], [CLS], [SEP] among its 2 tokens"));
  CHECK(error(specials + "the\ncaf\xe9\n") ==
        ":7: byte 4 of the line (0xE9) is not valid UTF-8; save the file as UTF-8");
  CHECK(message_of<BadInput>([&] { WordPiece::load(folder.path("none.txt")); }) ==
        folder.path("none.txt") + ": cannot be opened: No such file or directory");
  CHECK(message_of<BadInput>([&] { WordPiece::load(folder.path()); }) ==
        folder.path() + ": is a directory, not a regular file");
}
