#include "data/wordpiece.h"

#include <algorithm>

#include "data/input/file.h"
#include "data/text_file.h"
#include "engine/error.h"

namespace crisp {
namespace {

constexpr size_t max_word_characters = 100;  // HF's max_input_chars_per_word

// What the normaliser and the pre-tokenizer do with an ASCII character.
enum class Ascii : uint8_t { drop, space, punctuation, letter };

constexpr std::array<Ascii, 128> ascii_class = [] {
  std::array<Ascii, 128> table{};
  for (int c = 0; c < 128; ++c) {
    const bool punctuation =
        (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
    table[static_cast<size_t>(c)] = c == ' ' || c == '\t' || c == '\n' || c == '\r' ? Ascii::space
                                    : c < 32 || c == 127                            ? Ascii::drop
                                    : punctuation                                   ? Ascii::punctuation
                                                                                    : Ascii::letter;
  }
  return table;
}();

bool is_ascii(std::string_view text) {
  unsigned char bits = 0;
  for (const char c : text) bits |= static_cast<unsigned char>(c);
  return bits < 0x80;
}

}  // namespace

WordPiece WordPiece::load(const std::string& path) { return parse(read_input(path, input_limit::tokenizer), path); }

WordPiece WordPiece::parse(std::string_view text, const std::string& name) {
  std::vector<std::string> tokens;
  LineReader lines(text, name);
  while (lines.next()) {
    tokens.emplace_back(trim_end(lines.line()));
  }
  if (tokens.empty()) fail<BadInput>("{}: the vocabulary is empty; expected one token per line", name);
  return from_tokens(std::move(tokens), name);
}

WordPiece WordPiece::from_tokens(std::vector<std::string> tokens, const std::string& name) {
  WordPiece result;
  result.tokens_ = std::move(tokens);
  result.node_ids_ = {-1};
  result.edges_.resize(1024);
  for (size_t i = 0; i < result.tokens_.size(); ++i) {
    if (!result.tokens_[i].empty()) result.add_to_trie(result.tokens_[i], static_cast<int32_t>(i));
  }
  std::string missing;
  for (auto& [token, id] : result.specials_) {
    id = result.id(token);
    if (id < 0 && token != "[MASK]") missing += fmt::format("{}{}", missing.empty() ? "" : ", ", token);
  }
  if (!missing.empty()) {
    fail<BadInput>("{}: no {} among its {} lines; expected the vocab.txt of an uncased BERT, one token per line", name,
                   missing, result.size());
  }
  if (const uint32_t hash = result.child(0, '#')) result.continuation_root_ = result.child(hash, '#');
  return result;
}

void WordPiece::add_to_trie(std::string_view token, int32_t id) {
  uint32_t node = 0;
  for (const char c : token) {
    const auto byte = static_cast<unsigned char>(c);
    uint32_t next = child(node, byte);
    if (next == 0) {
      if (node_ids_.size() >= (1u << 24)) fail<BadInput>("the vocabulary is too large: more than 2^24 prefixes");
      if (2 * (edge_count_ + 1) > edges_.size()) grow_edges();
      next = static_cast<uint32_t>(node_ids_.size());
      node_ids_.push_back(-1);
      const uint32_t key = node << 8 | byte;
      size_t slot = hash(key);
      while (edges_[slot].child != 0) slot = (slot + 1) & (edges_.size() - 1);
      edges_[slot] = {key, next};
      ++edge_count_;
    }
    node = next;
  }
  node_ids_[node] = id;
}

void WordPiece::grow_edges() {
  std::vector<Edge> old(edges_.size() * 2);
  old.swap(edges_);
  for (const Edge& edge : old) {
    if (edge.child == 0) continue;
    size_t slot = hash(edge.key);
    while (edges_[slot].child != 0) slot = (slot + 1) & (edges_.size() - 1);
    edges_[slot] = edge;
  }
}

// Fibonacci hashing; the table's size is a power of two.
size_t WordPiece::hash(uint32_t key) const { return (key * 0x9E3779B1u >> 7) & (edges_.size() - 1); }

uint32_t WordPiece::child(uint32_t node, unsigned char byte) const {
  const uint32_t key = node << 8 | byte;
  for (size_t slot = hash(key);; slot = (slot + 1) & (edges_.size() - 1)) {
    const Edge& edge = edges_[slot];
    if (edge.child == 0 || edge.key == key) return edge.child;
  }
}

// emit(id, begin, end) gets bytes of `word` and returns false to stop; so do the functions below, with their own text.
template <class Emit>
bool WordPiece::encode_word(std::string_view word, size_t characters, Emit&& emit) const {
  if (characters > max_word_characters) return emit(unk_id(), size_t{0}, word.size());
  // A word has at most 100 characters, so at most 100 pieces. They are emitted only when the whole word is covered.
  std::array<Piece, max_word_characters> pieces;
  size_t count = 0;
  for (size_t begin = 0; begin < word.size(); ++count) {
    uint32_t node = begin == 0 ? 0 : continuation_root_;
    if (begin != 0 && node == 0) return emit(unk_id(), size_t{0}, word.size());
    int32_t best = -1;
    size_t best_end = begin;
    for (size_t i = begin; i < word.size(); ++i) {
      node = child(node, static_cast<unsigned char>(word[i]));
      if (node == 0) break;
      if (node_ids_[node] >= 0) {
        best = node_ids_[node];
        best_end = i + 1;
      }
    }
    if (best < 0) return emit(unk_id(), size_t{0}, word.size());
    pieces[count] = {best, begin, best_end};
    begin = best_end;
  }
  for (size_t i = 0; i < count; ++i) {
    if (!emit(pieces[i].id, pieces[i].begin, pieces[i].end)) return false;
  }
  return true;
}

template <class Emit>
bool WordPiece::encode_ascii(std::string_view text, Emit&& emit) const {
  char word[max_word_characters];
  size_t length = 0;  // counts on beyond the buffer, so that a longer word is seen to be too long
  const auto flush = [&] {
    if (length == 0) return true;
    const bool more = encode_word({word, std::min(length, max_word_characters)}, length, emit);
    length = 0;
    return more;
  };
  for (const char c : text) {
    switch (ascii_class[static_cast<unsigned char>(c)]) {
      case Ascii::letter:
        if (length < max_word_characters) word[length] = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
        ++length;
        break;
      case Ascii::space:
        if (!flush()) return false;
        break;
      case Ascii::punctuation:
        if (!flush() || !encode_word({&c, 1}, 1, emit)) return false;
        break;
      case Ascii::drop:
        break;
    }
  }
  return flush();
}

template <class Emit>
bool WordPiece::encode_unicode(std::string_view text, size_t begin, size_t end, std::vector<NormalizedChar>& chars,
                               Emit&& emit) const {
  chars.clear();
  bert_normalize(text, begin, end, chars);
  std::string word;
  std::vector<size_t> byte_char;  // for each byte of the word, the character that it belongs to
  size_t characters = 0;
  const auto flush = [&] {
    if (word.empty()) return true;
    const bool more = encode_word(word, characters, [&](int32_t id, size_t from, size_t to) {
      return emit(id, chars[byte_char[from]].begin, chars[byte_char[to - 1]].end);
    });
    word.clear();
    byte_char.clear();
    characters = 0;
    return more;
  };
  for (size_t i = 0; i < chars.size(); ++i) {
    const char32_t code = chars[i].code;
    if (code == ' ') {
      if (!flush()) return false;
      continue;
    }
    const bool punctuation = is_bert_punctuation(code);
    if (punctuation && !flush()) return false;
    append_utf8(code, word);
    byte_char.resize(word.size(), i);
    ++characters;
    if (punctuation && !flush()) return false;
  }
  return flush();
}

// The next special token at or after `from`, matched on the raw text: its position and its place in specials_.
std::pair<size_t, int> WordPiece::find_special(std::string_view text, size_t from) const {
  for (size_t at = text.find('[', from); at != std::string_view::npos; at = text.find('[', at + 1)) {
    for (size_t i = 0; i < specials_.size(); ++i) {
      if (specials_[i].second >= 0 && text.substr(at).starts_with(specials_[i].first)) return {at, static_cast<int>(i)};
    }
  }
  return {text.size(), -1};
}

template <class Emit>
void WordPiece::encode_text(std::string_view text, bool with_offsets, Emit&& emit) const {
  std::vector<NormalizedChar> chars;
  for (size_t begin = 0; begin < text.size();) {
    const auto [end, special] = find_special(text, begin);
    const std::string_view part = text.substr(begin, end - begin);
    const bool more =
        !with_offsets && is_ascii(part) ? encode_ascii(part, emit) : encode_unicode(text, begin, end, chars, emit);
    if (!more) return;
    begin = end;
    if (special >= 0) {
      const auto& [token, id] = specials_[static_cast<size_t>(special)];
      if (!emit(id, begin, begin + token.size())) return;
      begin += token.size();
    }
  }
}

bool WordPiece::encode_to(std::string_view text, int max_length, std::vector<int32_t>& ids) const {
  if (max_length < 2) fail<UsageError>("max length {} leaves no room for [CLS] and [SEP]; use at least 2", max_length);
  ids.push_back(cls_id());
  size_t room = static_cast<size_t>(max_length) - 2;
  bool truncated = false;
  encode_text(text, false, [&](int32_t id, size_t, size_t) {
    if (room == 0) {
      truncated = true;
      return false;
    }
    ids.push_back(id);
    --room;
    return true;
  });
  ids.push_back(sep_id());
  return truncated;
}

std::vector<int32_t> WordPiece::encode(std::string_view text, int max_length) const {
  std::vector<int32_t> ids;
  encode_to(text, max_length, ids);
  return ids;
}

std::vector<TokenSpan> WordPiece::encode_with_offsets(std::string_view text, int max_length) const {
  if (max_length < 2) fail<UsageError>("max length {} leaves no room for [CLS] and [SEP]; use at least 2", max_length);
  std::vector<TokenSpan> tokens = {{cls_id(), 0, 0}};
  encode_text(text, true, [&](int32_t id, size_t begin, size_t end) {
    if (tokens.size() + 1 == static_cast<size_t>(max_length)) return false;
    tokens.push_back({id, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
    return true;
  });
  tokens.push_back({sep_id(), 0, 0});
  return tokens;
}

const std::string& WordPiece::token(int32_t id) const {
  if (id < 0 || id >= size()) fail("token id {} is outside the vocabulary's 0..{}", id, size() - 1);
  return tokens_[static_cast<size_t>(id)];
}

int32_t WordPiece::id(std::string_view token) const {
  uint32_t node = 0;
  for (const char c : token) {
    node = child(node, static_cast<unsigned char>(c));
    if (node == 0) return -1;
  }
  return node_ids_[node];
}

}  // namespace crisp
