#include "data/wordpiece.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "data/input/file.h"
#include "data/input/text.h"
#include "data/text_file.h"
#include "engine/fail.h"

namespace crisp {
namespace {

using Rule = ExplainedToken::Rule;

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

void check_max_length(int max_length) {
  if (max_length < 2) fail<UsageError>("max length {} leaves no room for [CLS] and [SEP]; use at least 2", max_length);
}

bool is_ascii(std::string_view text) {
  unsigned char bits = 0;
  for (const char c : text) bits |= static_cast<unsigned char>(c);
  return bits < 0x80;
}

}  // namespace

Vocabulary parse_vocabulary(std::string_view text, const std::string& name) {
  text = without_byte_order_mark(text);
  Vocabulary vocabulary;
  LineReader lines(text, name);
  std::unordered_set<std::string_view> different;
  while (lines.next()) {
    const std::string_view token = trim_end(lines.line());
    different.insert(token);
    vocabulary.tokens.emplace_back(token);
  }
  if (vocabulary.tokens.empty()) fail<BadInput>("{}: the vocabulary is empty; expected one token per line", name);
  vocabulary.count = different.size();
  return vocabulary;
}

WordPiece WordPiece::load(const std::string& path) { return parse(read_input(path, input_limit::tokenizer), path); }

WordPiece WordPiece::parse(std::string_view text, const std::string& name) {
  return WordPiece(parse_vocabulary(text, name), {}, name);
}

WordPiece WordPiece::from_tokens(std::vector<std::string> tokens, const std::string& name) {
  const size_t count = std::unordered_set<std::string_view>(tokens.begin(), tokens.end()).size();
  return WordPiece({std::move(tokens), count}, {}, name);
}

WordPiece::WordPiece(Vocabulary vocabulary, const TokenizerSettings& settings, const std::string& name)
    : tokens_(std::move(vocabulary.tokens)),
      normalize_{.clean_text = settings.clean_text,
                 .split_cjk = settings.tokenize_chinese_chars,
                 .strip_accents = settings.strips_accents(),
                 .lower_case = settings.lower_case},
      max_word_characters_(static_cast<size_t>(settings.max_word_characters)),
      truncate_left_(settings.truncate_left) {
  for (size_t i = 0; i < tokens_.size(); ++i)
    if (!tokens_[i].empty()) words_.add(tokens_[i], static_cast<int32_t>(i));
  add_tokens(settings, vocabulary.count, name);
  ascii_is_simple_ = settings.clean_text && normalized_.empty();

  std::string missing;
  const auto find = [&](const std::string& token, int32_t& id, bool required) {
    id = token.empty() ? -1 : this->id(token);
    if (id >= 0 || !required) return;
    const auto naming = std::find_if(settings.added.begin(), settings.added.end(),
                                     [&](const AddedToken& t) { return t.content == token && !t.where.empty(); });
    missing += fmt::format("{}{}", missing.empty() ? "" : ", ", printable(token));
    if (naming != settings.added.end()) missing += fmt::format(" (which {} names)", naming->where);
  };
  find(settings.pad, pad_id_, !settings.pad.empty());
  find(settings.unk, unk_id_, true);
  find(settings.cls, cls_id_, true);
  find(settings.sep, sep_id_, true);
  find(settings.mask, mask_id_, false);
  if (!missing.empty())
    fail<BadInput>("{}: no {} among its {} tokens; expected the vocabulary of a BERT model, one token per line", name,
                   missing, tokens_.size());
  continuation_root_ = words_.node_of(settings.continuation);
  has_continuations_ = continuation_root_ != 0 || settings.continuation.empty();
}

// The rule of HF's AddedVocabulary: a token of the vocabulary keeps its id, another one gets the next free id after the
// vocabulary's number of (different) tokens, whatever a file says.
void WordPiece::add_tokens(const TokenizerSettings& settings, size_t vocabulary_count, const std::string& name) {
  std::unordered_map<std::string_view, size_t> places;  // of contents, in added_
  std::vector<AddedToken> invented;  // named tokens that no file adds, with the ids that HF gives them
  auto next = static_cast<int32_t>(vocabulary_count);
  added_.reserve(settings.added.size());  // the keys above point into it
  const auto add = [&](const AddedToken& token, int32_t id) {
    const bool taken = static_cast<size_t>(id) < tokens_.size() && tokens_[static_cast<size_t>(id)] != token.content;
    if (taken && words_.find(tokens_[static_cast<size_t>(id)]) == id)
      fail<BadInput>(
          "{}: the vocabulary has a token twice, so that the added token {} gets the id {} in Hugging Face's "
          "tokenizers, which {} has already",
          token.where.empty() ? name : token.where, quote(token.content), id, quote(tokens_[static_cast<size_t>(id)]));
    if (static_cast<size_t>(id) >= tokens_.size()) tokens_.resize(static_cast<size_t>(id) + 1);
    tokens_[static_cast<size_t>(id)] = token.content;
    if (const auto before = places.find(token.content); before != places.end()) {
      added_[before->second] = token;
      added_[before->second].stated_id = id;
    } else {
      added_.push_back(token);
      added_.back().stated_id = id;
      places.emplace(added_.back().content, added_.size() - 1);
    }
  };
  for (const AddedToken& token : settings.added) {
    if (token.content.empty()) continue;
    const auto before = places.find(token.content);
    int32_t id = before != places.end() ? added_[before->second].stated_id : words_.find(token.content);
    const bool is_new = id < 0;
    if (is_new) {
      id = next++;
      // The model does not have its id, unless a file adds another one after it.
      if (token.stated_id < 0 && settings.names(token.content)) {
        invented.push_back(token);
        invented.back().stated_id = id;
        continue;
      }
    }
    if (token.stated_id >= 0 && token.stated_id != id)
      fail<BadInput>(
          "{}: the added token {} is stated to have the id {}, but Hugging Face's tokenizers give it {}: the files of "
          "this tokenizer do not belong together",
          token.where.empty() ? name : token.where, quote(token.content), token.stated_id, id);
    if (is_new)
      for (const AddedToken& earlier : std::exchange(invented, {})) add(earlier, earlier.stated_id);
    add(token, id);
  }
  std::unordered_map<std::string, const AddedToken*> patterns;
  for (const AddedToken& token : added_) {
    if (token.special && settings.split_special_tokens) continue;
    if (!token.normalized) {
      raw_.add(token.content, token, token.stated_id);
      continue;
    }
    std::vector<NormalizedChar> chars;
    bert_normalize(token.content, 0, token.content.size(), chars, normalize_);
    std::string pattern;
    for (const NormalizedChar& c : chars) append_utf8(c.code, pattern);
    const auto [same, is_new] = patterns.emplace(pattern, &token);
    if (!is_new && !pattern.empty())
      notes_.push_back(fmt::format(
          "{}: the added tokens {} and {} are one text once normalised; the second is taken, but transformers' choice "
          "changes from run to run",
          token.where.empty() ? name : token.where, quote(same->second->content), quote(token.content)));
    same->second = &token;
    normalized_.add(pattern, token, token.stated_id);
  }
}

// emit(id, begin, end, origin) gets bytes of `word` and returns false to stop; so do the functions below, with their
// own text.
template <class Emit>
bool WordPiece::encode_word(std::string_view word, size_t characters, Emit&& emit) const {
  if (characters > max_word_characters_)
    return emit(unk_id(), size_t{0}, word.size(), Origin{Rule::long_word, characters});
  // A piece has at least one character. They are emitted only when the whole word is covered.
  std::array<Piece, TokenizerSettings::longest_word> pieces;
  size_t count = 0;
  for (size_t begin = 0; begin < word.size(); ++count) {
    uint32_t node = begin == 0 ? 0 : continuation_root_;
    if (begin != 0 && !has_continuations_) return emit(unk_id(), size_t{0}, word.size(), Origin{Rule::no_piece, begin});
    int32_t best = -1;
    size_t best_end = begin;
    for (size_t i = begin; i < word.size(); ++i) {
      node = words_.child(node, static_cast<unsigned char>(word[i]));
      if (node == 0) break;
      if (words_.value(node) >= 0) {
        best = words_.value(node);
        best_end = i + 1;
      }
    }
    if (best < 0) return emit(unk_id(), size_t{0}, word.size(), Origin{Rule::no_piece, begin});
    pieces[count] = {best, begin, best_end};
    begin = best_end;
  }
  for (size_t i = 0; i < count; ++i) {
    if (!emit(pieces[i].id, pieces[i].begin, pieces[i].end, Origin{Rule::piece})) return false;
  }
  return true;
}

template <class Emit>
bool WordPiece::encode_ascii(std::string_view text, Emit&& emit) const {
  char word[TokenizerSettings::longest_word];
  const size_t limit = max_word_characters_;
  const char capital = normalize_.lower_case ? 'a' - 'A' : 0;
  size_t length = 0;  // counts on beyond the limit, so that a longer word is seen to be too long
  const auto flush = [&] {
    if (length == 0) return true;
    const bool more = encode_word({word, std::min(length, limit)}, length, emit);
    length = 0;
    return more;
  };
  for (const char c : text) {
    switch (ascii_class[static_cast<unsigned char>(c)]) {
      case Ascii::letter:
        if (length < limit) word[length] = c >= 'A' && c <= 'Z' ? static_cast<char>(c + capital) : c;
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

// Words and punctuation of normalised text without added tokens.
template <class Emit>
bool WordPiece::encode_chars(std::span<const NormalizedChar> chars, Emit&& emit) const {
  std::string word;
  std::vector<size_t> byte_char;  // for each byte of the word, the character that it belongs to
  size_t characters = 0;
  const auto flush = [&] {
    if (word.empty()) return true;
    const bool more = encode_word(word, characters, [&](int32_t id, size_t from, size_t to, Origin origin) {
      if (origin.rule == Rule::no_piece) origin.detail = chars[byte_char[origin.detail]].begin;
      return emit(id, chars[byte_char[from]].begin, chars[byte_char[to - 1]].end, origin);
    });
    word.clear();
    byte_char.clear();
    characters = 0;
    return more;
  };
  for (size_t i = 0; i < chars.size(); ++i) {
    const char32_t code = chars[i].code;
    if (is_white_space(code)) {
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

template <class Emit>
bool WordPiece::encode_unicode(std::string_view text, size_t begin, size_t end, std::vector<NormalizedChar>& chars,
                               Emit&& emit) const {
  chars.clear();
  bert_normalize(text, begin, end, chars, normalize_);
  const std::span<const NormalizedChar> all = chars;
  if (normalized_.empty()) return encode_chars(all, emit);
  std::string normal;
  std::vector<size_t> byte_char;  // as above, and one past the end
  for (size_t i = 0; i < chars.size(); ++i) {
    append_utf8(chars[i].code, normal);
    byte_char.resize(normal.size(), i);
  }
  byte_char.push_back(chars.size());
  for (size_t at = 0; at < normal.size();) {
    const auto match = normalized_.next(normal, at);
    const size_t from = byte_char[at], to = match ? byte_char[match->begin] : chars.size();
    if (!encode_chars(all.subspan(from, to - from), emit)) return false;
    if (!match) break;
    at = match->end;
    if (!emit(match->id, chars[to].begin, chars[byte_char[at] - 1].end, Origin{Rule::added})) return false;
  }
  return true;
}

template <class Emit>
void WordPiece::encode_text(std::string_view text, bool with_offsets, Emit&& emit) const {
  std::vector<NormalizedChar> chars;
  for (size_t begin = 0; begin < text.size();) {
    const auto match = raw_.next(text, begin);
    const size_t end = match ? match->begin : text.size();
    const std::string_view part = text.substr(begin, end - begin);
    const bool ascii = ascii_is_simple_ && !with_offsets && is_ascii(part);
    if (!(ascii ? encode_ascii(part, emit) : encode_unicode(text, begin, end, chars, emit))) return;
    if (!match || !emit(match->id, match->begin, match->end, Origin{Rule::added})) return;
    begin = match->end;
  }
}

bool WordPiece::encode_to(std::string_view text, int max_length, std::vector<int32_t>& ids) const {
  check_max_length(max_length);
  ids.push_back(cls_id());
  const size_t first = ids.size(), room = static_cast<size_t>(max_length) - 2;
  bool truncated = false;
  encode_text(text, false, [&](int32_t id, size_t, size_t, Origin) {
    truncated |= ids.size() - first >= room;
    if (truncated && !truncate_left_) return false;
    ids.push_back(id);
    return true;
  });
  if (truncated && truncate_left_)
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end() - static_cast<std::ptrdiff_t>(room));
  ids.push_back(sep_id());
  return truncated;
}

std::vector<int32_t> WordPiece::encode(std::string_view text, int max_length) const {
  std::vector<int32_t> ids;
  encode_to(text, max_length, ids);
  return ids;
}

std::vector<TokenSpan> WordPiece::encode_with_offsets(std::string_view text, int max_length) const {
  check_max_length(max_length);
  std::vector<TokenSpan> tokens = {{cls_id(), 0, 0}};
  encode_text(text, true, [&](int32_t id, size_t begin, size_t end, Origin) {
    if (tokens.size() + 1 >= static_cast<size_t>(max_length) && !truncate_left_) return false;
    tokens.push_back({id, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
    return true;
  });
  if (tokens.size() + 1 > static_cast<size_t>(max_length))
    tokens.erase(tokens.begin() + 1, tokens.end() - (max_length - 2));
  tokens.push_back({sep_id(), 0, 0});
  return tokens;
}

std::vector<ExplainedToken> WordPiece::explain(std::string_view text, int max_length) const {
  check_max_length(max_length);
  std::vector<ExplainedToken> tokens = {{.span = {cls_id(), 0, 0}}};
  encode_text(text, true, [&](int32_t id, size_t begin, size_t end, Origin origin) {
    const auto detail = static_cast<uint32_t>(origin.detail);
    tokens.push_back({.span = {id, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)},
                      .rule = origin.rule,
                      .unmatched = origin.rule == Rule::no_piece ? detail : 0,
                      .characters = origin.rule == Rule::long_word ? detail : 0});
    return true;
  });
  const size_t all = tokens.size() - 1, room = static_cast<size_t>(max_length) - 2, kept = std::min(all, room);
  for (size_t i = 0; i < all - kept; ++i) tokens[1 + (truncate_left_ ? 0 : kept) + i].cut = true;
  tokens.push_back({.span = {sep_id(), 0, 0}});
  return tokens;
}

const std::string& WordPiece::token(int32_t id) const {
  if (id < 0 || id >= size()) fail("token id {} is outside the vocabulary's 0..{}", id, size() - 1);
  return tokens_[static_cast<size_t>(id)];
}

int32_t WordPiece::largest_id() const {
  const auto last = std::find_if(tokens_.rbegin(), tokens_.rend(), [](const std::string& t) { return !t.empty(); });
  return static_cast<int32_t>(tokens_.rend() - last) - 1;
}

int32_t WordPiece::id(std::string_view token) const {
  for (const AddedToken& added : added_)
    if (added.content == token) return added.stated_id;
  return words_.find(token);
}

}  // namespace crisp
