// A parse's words and a sentence's word pieces: who belongs to whom, and how far apart they are in the tree.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/conllu.h"
#include "data/wordpiece.h"

namespace crisp {

/// The bytes [begin, end) of a text.
struct ByteSpan {
  uint32_t begin, end;
};

/// Where in `text` each word of the parse stands. Text and parse are compared as the tokenizer sees them: case,
/// accents, Unicode normalisation, white space and control characters do not count. The words of a multiword token have
/// its whole span, or each its own part where their forms together spell it (`don't` = do + n't, but not `du` = de +
/// le); a word of which the tokenizer sees nothing has an empty span. `where` is the text's file:line for messages.
/// Throws BadInput, with both places and both strings, when they differ.
std::vector<ByteSpan> align_words(std::string_view text, const std::string& where, const ParsedSentence& parse);

/// Whether text and parse differ, and where: for a message both places and, each in a line of its own, both strings; ""
/// where align_words would take them.
std::string text_difference(std::string_view text, const std::string& where, const ParsedSentence& parse);

/// The tree over a sentence's tokens. Its nodes are the parse's words, parents before children, and then [CLS] and
/// [SEP], both children of the root.
struct TokenTree {
  std::vector<int32_t> heads;  // [words + 2], heads[i] < i; node 0 is the root, heads[0] = -1
  std::vector<int32_t> nodes;  // [tokens]: the node of each token
};

/// `tokens` are those of WordPiece::encode_with_offsets, `spans` those of align_words. A piece belongs to the word with
/// which it shares most bytes; of several, to the one nearest to the root; of several, to the first (`cannot` = can +
/// not, if it is a single piece). Tokens that were cut off just lack; the tree is the whole sentence's.
TokenTree token_tree(std::span<const TokenSpan> tokens, std::span<const ByteSpan> spans, const ParsedSentence& parse);

/// Number of edges between two nodes of a tree whose heads[i] < i.
int32_t tree_distance(std::span<const int32_t> heads, int32_t a, int32_t b);

}  // namespace crisp
