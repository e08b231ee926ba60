// Word pieces to the words of a parse, and how far apart they are in the tree.
#include <fmt/format.h>

#include "data/parse_alignment.h"

#include <algorithm>

#include "data/batch.h"
#include "engine/error.h"
#include "engine/random.h"
#include "tests/data/conllu_rows.h"
#include "tests/data/files.h"
#include "tests/support/catch.h"

using namespace crisp;

namespace {

ParsedSentence sentence(const std::string& lines) {
  ParsedSentence result;
  REQUIRE(ConlluReader(lines, "p.conllu").next(result));
  return result;
}

// The words' bytes of the text, separated by '|'.
std::string words(const std::string& text, const std::string& lines) {
  std::string result;
  const char* separator = "";
  for (const auto& [begin, end] : align_words(text, "t.tsv:9", sentence(lines))) {
    result += fmt::format("{}{}", separator, text.substr(begin, end - begin));
    separator = "|";
  }
  return result;
}

// The same for words alone, the first of them the root.
std::string plain(const std::string& text, const std::vector<std::string>& forms) {
  std::vector<int> heads(forms.size(), 1);
  heads[0] = 0;
  return words(text, parsed(forms, heads));
}

std::string error(const std::string& text, const std::string& lines) {
  return message_of<BadInput>([&] { words(text, lines); });
}

// A vocabulary whose pieces are the given ones and single characters.
WordPiece tokenizer(std::vector<std::string> pieces) {
  std::vector<std::string> tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"};
  for (char c = '!'; c <= '~'; ++c) tokens.push_back({c}), tokens.push_back(std::string("##") + c);
  tokens.insert(tokens.end(), pieces.begin(), pieces.end());
  return WordPiece::from_tokens(tokens);
}

// The word of each piece, from 1 as in CoNLL-U; C and S for [CLS] and [SEP].
std::string words_of_pieces(const std::string& text, const std::string& lines, const WordPiece& tokens,
                            int max_length = 100) {
  const auto parse = sentence(lines);
  const auto tree = token_tree(tokens.encode_with_offsets(text, max_length), align_words(text, "t", parse), parse);
  const auto n = static_cast<int32_t>(parse.words.size());
  REQUIRE(tree.heads.size() == parse.words.size() + 2);
  CHECK(tree.heads[0] == -1);
  for (size_t i = 1; i < tree.heads.size(); ++i) CHECK((tree.heads[i] >= 0 && tree.heads[i] < static_cast<int32_t>(i)));
  CHECK(tree.heads[parse.words.size()] == 0);
  CHECK(tree.heads[parse.words.size() + 1] == 0);
  // Parents come first, words of one depth in the order of the sentence.
  std::vector<int32_t> order(parse.words.size());
  for (int32_t i = 0; i < n; ++i) order[static_cast<size_t>(i)] = i;
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return parse.words[static_cast<size_t>(a)].depth < parse.words[static_cast<size_t>(b)].depth;
  });
  std::string result;
  for (const int32_t node : tree.nodes) {
    if (!result.empty()) result += ' ';
    result += node == n ? "C" : node > n ? "S" : std::to_string(order[static_cast<size_t>(node)] + 1);
  }
  return result;
}

const std::string dont = row("1", "I", "2") + row("2-3", "don't", "_", "SpaceAfter=No") + row("2", "do", "0") +
                         row("3", "n't", "2") + row("4", ".", "2");

}  // namespace

TEST_CASE("alignment: white space is nobody's and does not count") {
  CHECK(plain("a bc d", {"a", "bc", "d"}) == "a|bc|d");
  CHECK(plain("  a\tbc\u00a0\u3000d \n", {"a", "bc", "d"}) == "a|bc|d");
  CHECK(plain("abcd", {"a", "bc", "d"}) == "a|bc|d");
  CHECK(plain("a bc , d !", {"a", "bc", ",", "d", "!"}) == "a|bc|,|d|!");
  CHECK(plain("b c d", {"bc", "d"}) == "b c|d");
  CHECK(plain("20 000 men", {"20 000", "men"}) == "20 000|men");
}

TEST_CASE("alignment: case, accents, CJK, emoji, control characters") {
  CHECK(plain("caf\u00e9 D\u00c9JA", {"Cafe\u0301", "d\u00e9ja"}) == "caf\u00e9|D\u00c9JA");
  // An accent of its own behind the last letter is not seen, so it does not lengthen the word.
  CHECK(plain("cafe\u0301 b", {"caf\u00e9", "b"}) == "cafe|b");
  CHECK(plain("\u6f22\u5b57\u3092x", {"\u6f22\u5b57", "\u3092", "x"}) == "\u6f22\u5b57|\u3092|x");
  CHECK(plain("\ud55c\uad6d \uc5b4", {"\ud55c\uad6d", "\uc5b4"}) == "\ud55c\uad6d|\uc5b4");
  const std::string heart = "\u2764\ufe0f", family = "\U0001f468\u200d\U0001f469";
  CHECK(plain("so " + heart + family + "!", {"so", heart, family, "!"}) == "so|\u2764|" + family + "|!");
  CHECK(plain("so\u00ad ft\u200b", {"so", "ft"}) == "so|ft");
  // A word of which the tokenizer sees nothing has an empty span.
  CHECK(plain("a b", {"a", "\u200b", "b"}) == "a||b");
  CHECK(plain("a b", {"\ufe0f", "a", "b"}) == "|a|b");
}

TEST_CASE("alignment: the words of a multiword token have their own parts where they spell it") {
  CHECK(words("I don't.", dont) == "I|do|n't|.");
  CHECK(words("i DON't .", dont) == "i|DO|N't|.");
  const std::string of_the = row("1-2", "du", "_") + row("1", "de", "3") + row("2", "le", "3") + row("3", "pain", "0");
  CHECK(words("du pain", of_the) == "du|du|pain");
  // One letter more or less than the token has is another word, too.
  const auto two = [](const std::string& token, const std::string& a, const std::string& b) {
    return row("1-2", token, "_") + row("1", a, "0") + row("2", b, "1") + row("3", "c", "1");
  };
  CHECK(words("ab c", two("ab", "a", "bc")) == "ab|ab|c");
  CHECK(words("ab c", two("ab", "a", "_")) == "ab|ab|c");
  CHECK(words("ab c", two("ab", "a", "b")) == "a|b|c");
  CHECK(words("ab c", two("ab", "ab", "\u200b")) == "ab||c");
}

TEST_CASE("alignment: texts that differ are shown with both places") {
  const std::string lines = fmt::format("# sent_id = s-7\n{}", parsed({"a", "good", "film"}, {3, 3, 0}));
  const std::string head =
      "t.tsv:9: the text is not the one parsed at p.conllu:1 (sentence 1, s-7); each example needs its own parse, in "
      "the same order\n";
  CHECK(error("a bad film", lines) == head + "  text:  a bad film\n  parse: a good film");
  CHECK(error("a good", lines) == head + "  text:  a good\n  parse: a good film");
  CHECK(error("a good film !", lines) == head + "  text:  a good film !\n  parse: a good film");
  CHECK(error("a\x1b[31m film", lines) == head + "  text:  \"a\\u001b[31m film\"\n  parse: a good film");
  CHECK(error("", lines) == head + "  text:  \n  parse: a good film");
  CHECK(error("a good", parsed({"b"}, {0})) ==
        "t.tsv:9: the text is not the one parsed at p.conllu:1 (sentence 1); each example needs its own parse, in the "
        "same order\n  text:  a good\n  parse: b");

  // Of long ones the part where they differ, cut between characters.
  std::string same;
  for (int i = 0; i < 100; ++i) same += "\u00e9";
  const std::string text = same + "x" + same;
  const std::string some(same.substr(0, 60));
  CHECK(error(text, parsed({same + "yy" + same}, {0}))
            .find("\n  text:  ..." + some + "x" + same.substr(0, 60) + "...\n  parse: ..." + some + "yy" +
                  same.substr(0, 58) + "...") != std::string::npos);
}

TEST_CASE("alignment: each piece has its word") {
  const auto tokens = tokenizer({"good", "##ish", "film", "do", "don", "cannot"});
  CHECK(words_of_pieces("goodish film", parsed({"goodish", "film"}, {2, 0}), tokens) == "C 1 1 2 S");
  CHECK(words_of_pieces("goodish-film!", parsed({"goodish-film", "!"}, {0, 1}), tokens) == "C 1 1 1 1 2 S");
  CHECK(words_of_pieces("good film", parsed({"go", "od", "film"}, {3, 3, 0}), tokens) == "C 1 3 S");
  // don ' t: the first piece has more of `do`.
  CHECK(words_of_pieces("i don't.", dont, tokens) == "C 1 2 3 3 4 S");
  // Sentences that are cut lose pieces, but not words of their tree.
  CHECK(words_of_pieces("i don't.", dont, tokens, 5) == "C 1 2 3 S");
  CHECK(words_of_pieces("i don't.", dont, tokens, 2) == "C S");
  // Accents and an unknown word.
  CHECK(words_of_pieces("go\u00f6d \u6f22\u5b57 x", parsed({"go\u00f6d", "\u6f22\u5b57", "x"}, {0, 1, 1}), tokens) ==
        "C 1 2 2 3 S");
  CHECK(words_of_pieces("\u03b1\u03b2 x", parsed({"\u03b1\u03b2", "x"}, {0, 1}), tokens) == "C 1 2 S");
  // A special token in the text is one piece.
  CHECK(words_of_pieces("x [SEP] y", parsed({"x", "[", "SEP", "]", "y"}, {0, 1, 1, 3, 1}), tokens) == "C 1 3 5 S");
}

TEST_CASE("alignment: a piece shared equally goes to the word nearest to the root, then to the first") {
  const auto tokens = tokenizer({"cannot", "du", "pain"});
  const auto cannot = [](const std::string& can, const std::string& not_, const std::string& go) {
    return row("1-2", "cannot", "_") + row("1", "can", can) + row("2", "not", not_) + row("3", "go", go);
  };
  CHECK(words_of_pieces("cannot go", cannot("3", "3", "0"), tokens) == "C 1 3 3 S");
  CHECK(words_of_pieces("cannot go", cannot("2", "3", "0"), tokens) == "C 2 3 3 S");
  CHECK(words_of_pieces("cannot go", cannot("3", "1", "0"), tokens) == "C 1 3 3 S");
  const std::string du = row("1-2", "du", "_") + row("1", "de", "3") + row("2", "le", "3") + row("3", "pain", "0");
  CHECK(words_of_pieces("du pain", du, tokens) == "C 1 3 S");
}

namespace {

// A random tree of n words, the heads from 1, and a sentence of words of one to four letters over it.
struct RandomSentence {
  std::vector<std::string> forms;
  std::vector<int> heads;
  std::string text;
};

RandomSentence random_sentence(uint64_t seed, int n) {
  uint64_t element = 0;
  const auto draw = [&](int below) {
    return static_cast<int>(random_word({.seed = seed}, element++) % static_cast<uint32_t>(below));
  };
  RandomSentence result;
  std::vector<int> order(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) order[static_cast<size_t>(i)] = i;
  for (int i = n - 1; i > 0; --i) std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(draw(i + 1))]);
  result.heads.assign(static_cast<size_t>(n), 0);
  for (int i = 1; i < n; ++i) {
    result.heads[static_cast<size_t>(order[static_cast<size_t>(i)])] = order[static_cast<size_t>(draw(i))] + 1;
  }
  for (int i = 0; i < n; ++i) {
    std::string form;
    for (int letters = draw(4); letters >= 0; --letters) form += "abc"[draw(3)];
    if (i > 0) result.text += ' ';
    result.text += form;
    result.forms.push_back(form);
  }
  return result;
}

// Floyd and Warshall over the words, [CLS] and [SEP]; then from words to pieces, which are the letters.
std::vector<int32_t> brute_force(const RandomSentence& s, int max_length) {
  const size_t n = s.forms.size(), nodes = n + 2;
  std::vector<int32_t> d(nodes * nodes, 1 << 20);
  const auto join = [&](size_t a, size_t b) { d[a * nodes + b] = d[b * nodes + a] = 1; };
  for (size_t i = 0; i < nodes; ++i) d[i * nodes + i] = 0;
  for (size_t i = 0; i < n; ++i) {
    if (s.heads[i] > 0) {
      join(i, static_cast<size_t>(s.heads[i] - 1));
    } else {
      join(i, n), join(i, n + 1);
    }
  }
  for (size_t k = 0; k < nodes; ++k)
    for (size_t i = 0; i < nodes; ++i)
      for (size_t j = 0; j < nodes; ++j)
        d[i * nodes + j] = std::min(d[i * nodes + j], d[i * nodes + k] + d[k * nodes + j]);
  std::vector<size_t> piece_words = {n};
  for (size_t w = 0; w < n; ++w) piece_words.insert(piece_words.end(), s.forms[w].size(), w);
  piece_words.resize(std::min(piece_words.size(), static_cast<size_t>(max_length) - 1));
  piece_words.push_back(n + 1);
  std::vector<int32_t> result;
  for (const size_t a : piece_words)
    for (const size_t b : piece_words) result.push_back(d[a * nodes + b]);
  return result;
}

}  // namespace

TEST_CASE("tree distances: in batches as brute force finds them, in any order of the examples, cut or not") {
  const TempFolder folder;
  const auto tokens = tokenizer({});
  std::vector<RandomSentence> sentences;
  Dataset dataset{.path = "d.tsv", .examples = {}, .num_labels = 2};
  std::string conllu;
  for (int i = 0; i < 60; ++i) {
    sentences.push_back(random_sentence(static_cast<uint64_t>(i), 1 + i % 23));
    dataset.examples.push_back({sentences.back().text, i % 2});
    conllu += parsed(sentences.back().forms, sentences.back().heads);
  }
  const std::string path = folder.write("p.conllu", conllu);
  for (const int max_length : {200, 17, 2}) {
    const TokenizedDataset data(dataset, tokens, max_length, path);
    REQUIRE(data.parsed());
    PackedBatch batch;
    reserve_batch(data, 13, batch);
    const int32_t* reserved = batch.tree_distances.data();
    const auto order = epoch_order(3, 0, data.size());
    for (int64_t b = 0; b < batch_count(data.size(), 13); ++b) {
      const auto indices = batch_slice(order, 13, b);
      fill_batch(data, indices, batch);
      std::vector<int32_t> expected;
      for (const int32_t i : indices) {
        const auto one = brute_force(sentences[static_cast<size_t>(i)], max_length);
        REQUIRE(one.size() == data.ids(i).size() * data.ids(i).size());
        expected.insert(expected.end(), one.begin(), one.end());
      }
      CHECK(batch.tree_distances == expected);
      CHECK(batch.tree_distances.data() == reserved);
      PackedBatch of_subset;
      fill_batch(data.subset(indices), sequential_order(static_cast<int32_t>(indices.size())), of_subset);
      CHECK(of_subset.tree_distances == expected);
    }
    // The worst that a batch can be still fits.
    std::vector<int32_t> longest = sequential_order(data.size());
    std::stable_sort(longest.begin(), longest.end(),
                     [&](int32_t a, int32_t b) { return data.ids(a).size() > data.ids(b).size(); });
    longest.resize(13);
    fill_batch(data, longest, batch);
    CHECK(batch.tree_distances.data() == reserved);
  }
}

TEST_CASE("tree distances: pieces of one word are at 0, [CLS] and [SEP] at 1 from the root") {
  const TempFolder folder;
  const std::string path = folder.write("p.conllu", dont);
  const Dataset dataset{.path = "d.tsv", .examples = {{"I don't .", 0}}, .num_labels = 2};
  PackedBatch batch;
  fill_batch(TokenizedDataset(dataset, tokenizer({"do", "don"}), 100, path), std::vector<int32_t>{0}, batch);
  CHECK(batch.tree_distances == std::vector<int32_t>{                      // [CLS] i don ' t . [SEP]
                                                     0, 2, 1, 2, 2, 2, 2,  //
                                                     2, 0, 1, 2, 2, 2, 2,  //
                                                     1, 1, 0, 1, 1, 1, 1,  //
                                                     2, 2, 1, 0, 0, 2, 2,  //
                                                     2, 2, 1, 0, 0, 2, 2,  //
                                                     2, 2, 1, 2, 2, 0, 2,  //
                                                     2, 2, 1, 2, 2, 2, 0});
  // Without parses there are none, also when the batch had some before.
  fill_batch(TokenizedDataset(dataset, tokenizer({}), 100, ""), std::vector<int32_t>{0}, batch);
  CHECK(batch.tree_distances.empty());
  CHECK_FALSE(TokenizedDataset(dataset, tokenizer({}), 100).parsed());
}

TEST_CASE("parses of a dataset: one for each example, of its text") {
  const TempFolder folder;
  const std::string tsv = folder.write("train.tsv", "sentence\tlabel\na b\t0\nc\t1\n");
  const auto dataset = read_dataset(tsv);
  const auto mistake = [&](const std::string& conllu, const Dataset& data) {
    const std::string path = folder.write("train.conllu", conllu);
    return message_of<BadInput>([&] { TokenizedDataset(data, tokenizer({}), 9, path); });
  };
  const std::string ab = parsed({"a", "b"}, {0, 1}), c = parsed({"c"}, {0}), path = folder.path("train.conllu");
  const std::string order = "; one per example is needed, in the same order";
  CHECK(mistake(ab + c, dataset) == "(nothing thrown)");
  // Of too few or too many the first pair that differs is shown, which is where one is missing or too many.
  const std::string agree = "\nThey agree as far as both go: the rest is missing at the end of ";
  const std::string one = path + ": 1 parsed sentence, but " + tsv + " has 2 examples" + order;
  const std::string three = path + ": 3 parsed sentences, but " + tsv + " has 2 examples" + order;
  CHECK(mistake(c, dataset) ==
        one + "\nThe first that differ are " + tsv + ":2 and " + path + ":1 (sentence 1)\n  text:  a b\n  parse: c");
  CHECK(mistake(ab + "# sent_id = s-7\n" + ab + c, dataset) == three + "\nThe first that differ are " + tsv +
                                                                   ":3 and " + path +
                                                                   ":4 (sentence 2, s-7)\n  text:  c\n  parse: a b");
  CHECK(mistake(ab, dataset) == one + agree + path);
  CHECK(mistake(ab + c + c, dataset) == three + agree + tsv);
  CHECK(mistake("", dataset) == path + ": 0 parsed sentences, but " + tsv + " has 2 examples" + order + agree + path);
  CHECK(mistake(ab + "x", dataset).starts_with(path + ":4: 1 tab-separated column where"));
  CHECK(mistake(ab + ab, dataset) == tsv + ":3: the text is not the one parsed at " + path +
                                         ":4 (sentence 2); each example needs its own parse, in the same order\n"
                                         "  text:  c\n  parse: a b");
  const Dataset made{.path = "made", .examples = {{"x", 0}, {"c", 1}}, .num_labels = 2};
  CHECK(mistake(c + c, made).starts_with("made, example 1: the text is not the one parsed at " + path + ":1 "));
  CHECK(message_of<BadInput>([&] { TokenizedDataset(dataset, tokenizer({}), 9, folder.path("none")); }) ==
        folder.path("none") + ": cannot be opened: No such file or directory");
}

TEST_CASE("parses: all of UD English EWT's dev.conllu fit the texts in its comments") {
  const std::string path = datasets_dir() + "/ud-english-ewt/dev.conllu";
  const std::string vocabulary = datasets_dir() + "/bert-base-uncased/vocab.txt";
  if (!std::filesystem::exists(path)) CRISP_SKIP("no " + path);
  if (!std::filesystem::exists(vocabulary)) CRISP_SKIP("no " + vocabulary);
  Dataset dataset{.path = "dev", .examples = {}, .num_labels = 1};
  const std::string content = read_file(path);
  LineReader lines(content, path);
  while (lines.next()) {
    if (lines.line().starts_with("# text = ")) dataset.examples.push_back({std::string(lines.line().substr(9)), 0});
  }
  CHECK(dataset.examples.size() == 2001);
  const WordPiece tokens = WordPiece::load(vocabulary);
  const TokenizedDataset data(dataset, tokens, 512, path);
  CHECK(data.size() == 2001);
  CHECK(data.truncated() == 0);

  // Each piece lies inside a word, but for 162 that span two, like the `don` of do + n't (counted with Python and
  // Hugging Face's tokenizer).
  ParsedSentence parse;
  ConlluReader reader(content, path);
  int64_t pieces = 0, across = 0, words = 0;
  for (int32_t i = 0; i < data.size(); ++i) {
    REQUIRE(reader.next(parse));
    const std::string& text = dataset.examples[static_cast<size_t>(i)].text;
    const auto spans = align_words(text, "dev", parse);
    const auto found = tokens.encode_with_offsets(text, 512);
    CHECK(data.tree_nodes(i).size() == found.size());
    CHECK(data.tree_heads(i).size() == parse.words.size() + 2);
    for (size_t w = 0; w < spans.size(); ++w) {
      ++words;
      CHECK(spans[w].begin < spans[w].end);
      if (w > 0) CHECK(spans[w].begin >= spans[w - 1].end);
    }
    for (size_t p = 1; p + 1 < found.size(); ++p) {
      ++pieces;
      const auto holds = [&](const ByteSpan& s) { return s.begin <= found[p].begin && found[p].end <= s.end; };
      across += std::none_of(spans.begin(), spans.end(), holds);
    }
  }
  CHECK(words == 25147);
  CHECK(pieces == data.total_tokens() - 2 * 2001);
  CHECK(across == 162);
}
