// Dependency parses in CoNLL-U, the format of Universal Dependencies: https://universaldependencies.org/format.html
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_file.h"

namespace crisp {

/// A syntactic word. Indices of words count from 0 here, from 1 in the file.
struct ParsedWord {
  std::string form;
  int32_t head = -1;  // the word that it hangs on; -1 = the root
  int32_t depth = 0;  // edges up to the root
};

/// What is written as one: a word, or a multiword token (`don't` = do + n't) with the words that it stands for.
struct SurfaceToken {
  size_t begin, end;                // bytes of ParsedSentence::text
  int32_t first_word, behind_word;  // the words [first_word, behind_word)
};

/// A sentence of the file, checked: its words form one tree, its tokens cover each word once, in order.
struct ParsedSentence {
  int32_t number = 0;  // in the file, from 1
  std::string where;   // file:line of its first line
  std::string id;      // `# sent_id = `, or empty
  std::string text;    // the tokens' forms, a space behind each but those with SpaceAfter=No
  std::vector<ParsedWord> words;
  std::vector<SurfaceToken> tokens;
};

/// Walks over the sentences of a file. LF or CRLF; several blank lines count as one, and the last may be missing.
/// Comments other than `# sent_id` mean nothing here, nor do empty nodes (`5.1`), LEMMA, tags, DEPREL and DEPS.
class ConlluReader {
 public:
  /// `content` must outlive the reader; `name` is the file in messages.
  ConlluReader(std::string_view content, const std::string& name);

  /// Replaces `sentence` by the next one; false at the end. Throws BadInput, with file and line: not ten columns, word
  /// numbers out of order, ranges that overlap or go too far, heads that are none of the sentence's words, no root or
  /// several, a cycle, an empty form, comments inside or without a sentence, bytes that are not UTF-8.
  bool next(ParsedSentence& sentence);

 private:
  void read_line(ParsedSentence& sentence);
  void read_range(std::string_view id, ParsedSentence& sentence);
  void add_token(std::string_view form, std::string_view misc, int32_t words, ParsedSentence& sentence);
  void check_tree(ParsedSentence& sentence);
  std::string where(size_t line) const;

  std::string name_;
  LineReader lines_;
  int32_t number_ = 0;
  // Of the sentence being read: the line of each word, where the last range ends (and its line), the last empty node
  // behind the last word, and whether a space comes before the next token.
  std::vector<size_t> word_lines_;
  int32_t range_end_ = 0;
  size_t range_line_ = 0;
  int32_t empty_nodes_ = 0;
  bool space_ = false;
};

}  // namespace crisp
