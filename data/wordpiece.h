// WordPiece for uncased BERT, equal to Hugging Face's fast tokenizer (`BertTokenizerFast`, lower-casing on) id by id.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/unicode.h"

namespace crisp {

/// A token and the bytes [begin, end) of the original text that it stands for; [CLS] and [SEP] have begin = end = 0.
struct TokenSpan {
  int32_t id;
  uint32_t begin, end;
};

/// A vocabulary and the greedy longest-match tokenizer over it. Immutable: any number of threads may encode at once.
class WordPiece {
 public:
  /// Reads a vocab.txt: one token per line, id = line number from 0, blank lines count, white space at the end of a
  /// line does not. A token that occurs twice has the later id, as in HF. Throws BadInput, with file and line, when the
  /// file is missing, empty or no UTF-8, or has no [PAD], [UNK], [CLS] or [SEP].
  static WordPiece load(const std::string& path);

  /// The same from the text of a vocab.txt; `name` stands for the file in messages.
  static WordPiece parse(std::string_view text, const std::string& name = "vocabulary");

  /// The same from tokens in memory; `name` stands for the file in messages.
  static WordPiece from_tokens(std::vector<std::string> tokens, const std::string& name = "vocabulary");

  /// [CLS] tokens [SEP], cut on the right to `max_length` ids in all (at least 2, else UsageError). Special tokens in
  /// the text are recognised as in HF. Bytes that are not UTF-8 are ignored.
  std::vector<int32_t> encode(std::string_view text, int max_length) const;

  /// The same, appended to `ids`; true when tokens were cut off.
  bool encode_to(std::string_view text, int max_length, std::vector<int32_t>& ids) const;

  /// The same with the origin of each token, as HF's `return_offsets_mapping` but in bytes.
  std::vector<TokenSpan> encode_with_offsets(std::string_view text, int max_length) const;

  /// Number of ids: the lines of the vocabulary.
  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }
  /// The token of an id; Error when out of range.
  const std::string& token(int32_t id) const;
  /// The id of a token, -1 when the vocabulary has no such token.
  int32_t id(std::string_view token) const;

  int32_t pad_id() const { return specials_[0].second; }
  int32_t unk_id() const { return specials_[1].second; }
  int32_t cls_id() const { return specials_[2].second; }
  int32_t sep_id() const { return specials_[3].second; }
  /// -1 when the vocabulary has no [MASK].
  int32_t mask_id() const { return specials_[4].second; }

 private:
  // A trie of bytes with its edges in one open-addressing hash table; node 0 is the root.
  struct Edge {
    uint32_t key;    // node << 8 | byte
    uint32_t child;  // 0 = empty slot: the root is nobody's child
  };
  struct Piece {
    int32_t id;
    size_t begin, end;  // bytes of the word
  };

  WordPiece() = default;
  void add_to_trie(std::string_view token, int32_t id);
  void grow_edges();
  size_t hash(uint32_t key) const;
  uint32_t child(uint32_t node, unsigned char byte) const;
  template <class Emit>
  bool encode_word(std::string_view word, size_t characters, Emit&& emit) const;
  template <class Emit>
  bool encode_ascii(std::string_view text, Emit&& emit) const;
  template <class Emit>
  bool encode_unicode(std::string_view text, size_t begin, size_t end, std::vector<NormalizedChar>& chars,
                      Emit&& emit) const;
  template <class Emit>
  void encode_text(std::string_view text, bool with_offsets, Emit&& emit) const;
  std::pair<size_t, int> find_special(std::string_view text, size_t from) const;

  std::vector<std::string> tokens_;
  std::array<std::pair<std::string_view, int32_t>, 5> specials_{
      {{"[PAD]", -1}, {"[UNK]", -1}, {"[CLS]", -1}, {"[SEP]", -1}, {"[MASK]", -1}}};
  std::vector<Edge> edges_;
  std::vector<int32_t> node_ids_;  // the token that ends at a node, or -1
  uint32_t edge_count_ = 0;
  uint32_t continuation_root_ = 0;  // the node of "##", 0 when no token continues a word
};

}  // namespace crisp
