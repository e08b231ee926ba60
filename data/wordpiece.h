// WordPiece of BERT, cased or uncased, equal to Hugging Face's fast tokenizer (`BertTokenizer` of transformers 5) id by
// id.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/added_tokens.h"
#include "data/byte_trie.h"
#include "data/tokenizer_settings.h"
#include "data/unicode.h"

namespace crisp {

/// A token and the bytes [begin, end) of the original text that it stands for; [CLS] and [SEP] have begin = end = 0.
struct TokenSpan {
  int32_t id;
  uint32_t begin, end;
};

/// How a token of a text came about, and whether a maximum length cuts it off.
struct ExplainedToken {
  enum class Rule : uint8_t {
    frame,      // [CLS] or [SEP] around a text
    added,      // an added token that stands in the text
    piece,      // of the vocabulary
    long_word,  // unknown: the word has more characters than the settings allow
    no_piece,   // unknown: the longest pieces are taken from the left, and at some place none fits
  };
  TokenSpan span = {};
  Rule rule = Rule::frame;
  uint32_t unmatched = 0;   // no_piece: the byte of the text from which on none fits
  uint32_t characters = 0;  // long_word: of the word, after normalisation
  bool cut = false;
};

/// The tokens of a vocab.txt: one a line, id = line number from 0, blank lines count, white space at the end of a line
/// does not; a byte order mark is skipped. `name` stands for the file in messages. Throws BadInput, with file and line,
/// when it is empty or no UTF-8.
Vocabulary parse_vocabulary(std::string_view text, const std::string& name);

/// A vocabulary and the greedy longest-match tokenizer over it. Immutable: any number of threads may encode at once.
class WordPiece {
 public:
  /// A token that occurs twice has the later id, as in HF. Throws BadInput when the unknown token, [CLS], [SEP] or
  /// [PAD] is none of the tokens, when a file states another id for an added token than HF gives it, and when HF gives
  /// it one that another token has. `name` stands for the vocabulary's file in messages.
  explicit WordPiece(Vocabulary vocabulary, const TokenizerSettings& settings = {},
                     const std::string& name = "vocabulary");

  /// From a vocab.txt alone: an uncased BERT's.
  static WordPiece load(const std::string& path);
  /// The same from the text of a vocab.txt.
  static WordPiece parse(std::string_view text, const std::string& name = "vocabulary");
  /// The same from tokens in memory.
  static WordPiece from_tokens(std::vector<std::string> tokens, const std::string& name = "vocabulary");

  /// [CLS] tokens [SEP], cut to `max_length` ids in all (at least 2, else UsageError), on the right unless the settings
  /// say left. Added tokens in the text are recognised as in HF. Bytes that are not UTF-8 are ignored.
  std::vector<int32_t> encode(std::string_view text, int max_length) const;

  /// The same, appended to `ids`; true when tokens were cut off.
  bool encode_to(std::string_view text, int max_length, std::vector<int32_t>& ids) const;

  /// The same with the origin of each token, as HF's `return_offsets_mapping` but in bytes.
  std::vector<TokenSpan> encode_with_offsets(std::string_view text, int max_length) const;

  /// All tokens, those too that `max_length` (at least 2, else UsageError) cuts off: without these, the same as above.
  std::vector<ExplainedToken> explain(std::string_view text, int max_length) const;

  /// Number of ids: those of the vocabulary and of the tokens added to it.
  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }
  /// The largest id that a text can have: ids without a token are none.
  int32_t largest_id() const;
  /// The token of an id; Error when out of range.
  const std::string& token(int32_t id) const;
  /// The id of a token, -1 when there is no such token.
  int32_t id(std::string_view token) const;
  /// The settings' added tokens that the tokenizer recognises, each with the id that it has as its stated one.
  const std::vector<AddedToken>& added() const { return added_; }
  /// For the user: where the choice of an id is a guess.
  const std::vector<std::string>& notes() const { return notes_; }
  /// What is done to a text before its words are looked for.
  const NormalizeOptions& normalization() const { return normalize_; }
  /// A word of more characters is unknown.
  size_t max_word_characters() const { return max_word_characters_; }

  int32_t pad_id() const { return pad_id_; }  // -1: there is none, as below
  int32_t unk_id() const { return unk_id_; }
  int32_t cls_id() const { return cls_id_; }
  int32_t sep_id() const { return sep_id_; }
  int32_t mask_id() const { return mask_id_; }

 private:
  struct Piece {
    int32_t id;
    size_t begin, end;  // bytes of the word
  };
  struct Origin {
    ExplainedToken::Rule rule;
    size_t detail = 0;  // as `unmatched` (in the bytes that go with it) or `characters`
  };

  void add_tokens(const TokenizerSettings& settings, size_t vocabulary_count, const std::string& name);
  template <class Emit>
  bool encode_word(std::string_view word, size_t characters, Emit&& emit) const;
  template <class Emit>
  bool encode_ascii(std::string_view text, Emit&& emit) const;
  template <class Emit>
  bool encode_unicode(std::string_view text, size_t begin, size_t end, std::vector<NormalizedChar>& chars,
                      Emit&& emit) const;
  template <class Emit>
  bool encode_chars(std::span<const NormalizedChar> chars, Emit&& emit) const;
  template <class Emit>
  void encode_text(std::string_view text, bool with_offsets, Emit&& emit) const;

  std::vector<std::string> tokens_;
  std::vector<AddedToken> added_;
  std::vector<std::string> notes_;
  AddedTokenMatcher raw_, normalized_;  // added tokens by where they are looked for
  ByteTrie words_;                      // of the vocabulary, without added tokens
  NormalizeOptions normalize_;
  size_t max_word_characters_;
  uint32_t continuation_root_ = 0;  // the node of "##"
  bool has_continuations_ = false;
  bool ascii_is_simple_ = true;  // encode_ascii gives what encode_unicode would
  bool truncate_left_ = false;
  int32_t pad_id_ = -1, unk_id_ = -1, cls_id_ = -1, sep_id_ = -1, mask_id_ = -1;
};

}  // namespace crisp
