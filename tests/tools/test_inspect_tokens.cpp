// What crisp-inspect tokens says of a text: what is lost by which rule, and why a word is unknown.
#include <algorithm>
#include <climits>
#include <random>

#include "tests/support/catch.h"
#include "tools/inspect/tokens.h"

namespace crisp::inspect {
namespace {

using Rule = Loss::Rule;

const std::vector<std::string> vocabulary{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able",
                                          "the",   "cafe",  "a",     "##a",   "x",      "漢", "Cafe",  "é"};

WordPiece cased() {
  TokenizerSettings settings;
  settings.lower_case = false;
  return WordPiece({vocabulary, vocabulary.size()}, settings);
}

std::vector<Loss> losses(const std::string& text, const WordPiece& tokenizer = WordPiece::from_tokens(vocabulary)) {
  return losses_of(text, tokenizer.explain(text, INT_MAX), tokenizer);
}

void check(const Loss& loss, Rule rule, uint32_t begin, uint32_t end, const std::string& becomes = "") {
  CAPTURE(loss.begin, loss.end);
  CHECK(loss.rule == rule);
  CHECK(loss.begin == begin);
  CHECK(loss.end == end);
  CHECK(loss.becomes == becomes);
}

TEST_CASE("tokens: what a text loses, with its bytes and the rule") {
  const std::vector<Loss> all = losses("caf\u00e9  the\u0007\u200ba\u0301 \xff\xfe漢");
  REQUIRE(all.size() == 6);
  check(all[0], Rule::strip_accents, 3, 5, "e");
  check(all[1], Rule::white_space, 5, 7);
  check(all[2], Rule::clean_text, 10, 14);  // neighbours are one
  check(all[3], Rule::strip_accents, 15, 17);
  check(all[4], Rule::white_space, 17, 18);
  check(all[5], Rule::invalid_utf8, 18, 20);
  CHECK(losses("the,a").empty());
  CHECK(losses("").empty());
}

TEST_CASE("tokens: accents whose order is changed are still those of their bytes") {
  // A dot below goes before an acute accent; both are lost.
  const std::vector<Loss> all = losses("a\u0301\u0323");
  REQUIRE(all.size() == 1);
  check(all[0], Rule::strip_accents, 1, 5);
}

TEST_CASE("tokens: an added token loses nothing") {
  const std::vector<Loss> all = losses("a [MASK] a");
  REQUIRE(all.size() == 2);
  check(all[0], Rule::white_space, 1, 2);
  check(all[1], Rule::white_space, 8, 9);
}

TEST_CASE("tokens: rules that are off take nothing") {
  CHECK(losses("Caf\u00e9", cased()).empty());
  TokenizerSettings as_is;
  as_is.clean_text = false;
  const WordPiece tokenizer({vocabulary, vocabulary.size()}, as_is);
  const std::vector<Loss> all = losses("a\u0007\xff", tokenizer);
  REQUIRE(all.size() == 1);
  check(all[0], Rule::invalid_utf8, 2, 3, "\ufffd");
}

TEST_CASE("tokens: every byte is in a token or among what is lost") {
  std::mt19937 random(1);
  const std::vector<std::string> parts{"a",  "the ",   "caf\u00e9", "\u0301",   "\u200b", "\xff",
                                       "漢", "\u2603", "[MASK]",    "\xe6\xbc", "\t",     "unaffable",
                                       "!",  "\u0130", "\ud55c",    "\u0345"};
  for (const WordPiece& tokenizer : {WordPiece::from_tokens(vocabulary), cased()})
    for (int i = 0; i < 300; ++i) {
      std::string text;
      for (int j = 0; j < 12; ++j) text += parts[random() % parts.size()];
      const std::vector<ExplainedToken> tokens = tokenizer.explain(text, INT_MAX);
      std::vector<bool> seen(text.size());
      const auto mark = [&](uint32_t begin, uint32_t end) {
        REQUIRE(begin <= end);
        REQUIRE(end <= text.size());
        std::fill(seen.begin() + begin, seen.begin() + end, true);
      };
      for (const ExplainedToken& token : tokens) mark(token.span.begin, token.span.end);
      for (const Loss& loss : losses_of(text, tokens, tokenizer)) mark(loss.begin, loss.end);
      CAPTURE(text);
      CHECK(std::find(seen.begin(), seen.end(), false) == seen.end());
    }
}

TEST_CASE("tokens: what tells a token from its bytes") {
  const WordPiece tokenizer = WordPiece::from_tokens(vocabulary);
  const auto remark = [&](const std::string& text) {
    return remark_on(tokenizer.explain(text, INT_MAX).at(1), text, tokenizer);
  };
  CHECK(remark("the").empty());
  CHECK(remark("The") == "lower_case");
  CHECK(remark("Caf\u00e9") == "strip_accents, lower_case");
  CHECK(remark("t\u200bhe") == "clean_text");
  CHECK(remark("[MASK]") == "an added token");
  CHECK(remark("[UNK]") == "an added token");
  CHECK(remark("\u2603") == "unknown: no piece fits");
  CHECK(remark("") == "around every text");  // [SEP]
}

TEST_CASE("tokens: why a word is unknown") {
  const WordPiece tokenizer = WordPiece::from_tokens(vocabulary);
  const auto why = [&](const std::string& text) {
    return why_unknown(tokenizer.explain(text, INT_MAX).at(1), text, tokenizer);
  };
  CHECK(why("unaff\u2603x") == "after un ##aff no piece of the vocabulary fits at \"\u2603x\", byte 5");
  CHECK(why("\u2603") == "no piece of the vocabulary fits at \"\u2603\", byte 0");
  CHECK(why(std::string(101, 'x')) == "a word of 101 characters; max_input_chars_per_word is 100");
  CHECK(why("the").empty());
  CHECK(why("[UNK]").empty());
}

}  // namespace
}  // namespace crisp::inspect
