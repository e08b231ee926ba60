#include "data/parse_alignment.h"

#include <algorithm>
#include <numeric>

#include "data/input/text.h"
#include "data/unicode.h"
#include "engine/fail.h"

namespace crisp {
namespace {

// The characters that the tokenizer sees, without white space.
std::vector<NormalizedChar> visible(std::string_view text) {
  std::vector<NormalizedChar> chars;
  bert_normalize(text, 0, text.size(), chars);
  std::erase_if(chars, [](const NormalizedChar& c) { return c.code == ' '; });
  return chars;
}

bool same_code(const NormalizedChar& a, const NormalizedChar& b) { return a.code == b.code; }

// Some of `text` around the byte `at`, for a message.
std::string excerpt(std::string_view text, size_t at) {
  const auto boundary = [&](size_t i) {
    while (i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) ++i;
    return std::min(i, text.size());
  };
  const size_t begin = boundary(at > 60 ? at - 60 : 0), end = boundary(at + 60);
  return fmt::format("{}{}{}", begin > 0 ? "..." : "", printable(text.substr(begin, end - begin)),
                     end < text.size() ? "..." : "");
}

// "p.conllu:7 (sentence 2, s-7)".
std::string place_of(const ParsedSentence& parse) {
  return fmt::format("{} (sentence {}{}{})", parse.where, parse.number, parse.id.empty() ? "" : ", ",
                     printable(parse.id));
}

// Where they differ first, as two lines of a message; "" where they do not. `chars` and `parsed` are what is visible.
std::string differing_lines(std::string_view text, std::span<const NormalizedChar> chars, const ParsedSentence& parse,
                            std::span<const NormalizedChar> parsed) {
  const auto [here, there] = std::mismatch(chars.begin(), chars.end(), parsed.begin(), parsed.end(), same_code);
  if (here == chars.end() && there == parsed.end()) return "";
  return fmt::format("\n  text:  {}\n  parse: {}", excerpt(text, here == chars.end() ? text.size() : here->begin),
                     excerpt(parse.text, there == parsed.end() ? parse.text.size() : there->begin));
}

}  // namespace

std::string text_difference(std::string_view text, const std::string& where, const ParsedSentence& parse) {
  const std::string lines = differing_lines(text, visible(text), parse, visible(parse.text));
  return lines.empty() ? "" : fmt::format("{} and {}{}", where, place_of(parse), lines);
}

std::vector<ByteSpan> align_words(std::string_view text, const std::string& where, const ParsedSentence& parse) {
  const auto chars = visible(text), parsed = visible(parse.text);
  if (const std::string lines = differing_lines(text, chars, parse, parsed); !lines.empty())
    fail<BadInput>("{}: the text is not the one parsed at {}; each example needs its own parse, in the same order{}",
                   where, place_of(parse), lines);

  std::vector<ByteSpan> spans;
  spans.reserve(parse.words.size());
  size_t at = 0;  // the next character
  // The span of the next `count` characters; an empty one lies behind the characters before it.
  const auto take = [&](size_t count) {
    const uint32_t behind = at == 0 ? 0 : chars[at - 1].end;
    const ByteSpan span = count == 0 ? ByteSpan{behind, behind} : ByteSpan{chars[at].begin, chars[at + count - 1].end};
    at += count;
    return span;
  };
  std::vector<NormalizedChar> spelled;
  std::vector<size_t> lengths;
  for (const SurfaceToken& token : parse.tokens) {
    size_t count = 0;
    while (at + count < parsed.size() && parsed[at + count].begin < token.end) ++count;
    if (token.behind_word - token.first_word > 1) {
      spelled.clear();
      lengths.clear();
      for (int32_t w = token.first_word; w < token.behind_word; ++w) {
        const auto form = visible(parse.words[static_cast<size_t>(w)].form);
        spelled.insert(spelled.end(), form.begin(), form.end());
        lengths.push_back(form.size());
      }
      const auto* first = parsed.data() + at;
      if (std::equal(spelled.begin(), spelled.end(), first, first + count, same_code)) {
        for (const size_t length : lengths) spans.push_back(take(length));
        continue;
      }
    }
    spans.resize(static_cast<size_t>(token.behind_word), take(count));
  }
  return spans;
}

TokenTree token_tree(std::span<const TokenSpan> tokens, std::span<const ByteSpan> spans, const ParsedSentence& parse) {
  const auto& words = parse.words;
  const size_t n = words.size();
  std::vector<size_t> order(n);  // parents before children
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return words[a].depth < words[b].depth; });
  std::vector<int32_t> node(n);
  for (size_t i = 0; i < n; ++i) node[order[i]] = static_cast<int32_t>(i);

  TokenTree tree;
  tree.heads.reserve(n + 2);
  for (const size_t word : order) {
    tree.heads.push_back(words[word].head < 0 ? -1 : node[static_cast<size_t>(words[word].head)]);
  }
  tree.heads.insert(tree.heads.end(), {0, 0});

  tree.nodes.reserve(tokens.size());
  tree.nodes.push_back(static_cast<int32_t>(n));
  size_t first = 0;  // the first word that does not end before the piece; spans are in order, and so are pieces
  for (const TokenSpan& piece : tokens.subspan(1, tokens.size() - 2)) {
    while (first < n && spans[first].end <= piece.begin) ++first;
    size_t best = n;
    uint32_t most = 0;
    for (size_t w = first; w < n && spans[w].begin < piece.end; ++w) {
      const uint32_t begin = std::max(spans[w].begin, piece.begin), end = std::min(spans[w].end, piece.end);
      if (end <= begin) continue;
      if (end - begin > most || (end - begin == most && words[w].depth < words[best].depth)) {
        most = end - begin;
        best = w;
      }
    }
    if (best == n) fail("token_tree: the bytes {}..{} belong to no word", piece.begin, piece.end);
    tree.nodes.push_back(node[best]);
  }
  tree.nodes.push_back(static_cast<int32_t>(n) + 1);
  return tree;
}

int32_t tree_distance(std::span<const int32_t> heads, int32_t a, int32_t b) {
  // The later node is not above the other, so going up from it never passes their common ancestor.
  int32_t edges = 0;
  for (; a != b; ++edges) {
    int32_t& later = a > b ? a : b;
    later = heads[static_cast<size_t>(later)];
  }
  return edges;
}

}  // namespace crisp
