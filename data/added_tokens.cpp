#include "data/added_tokens.h"

#include <algorithm>

#include "data/unicode.h"

namespace crisp {

void AddedTokenMatcher::add(std::string_view pattern, const AddedToken& token, int32_t id) {
  if (pattern.empty()) return;
  trie_.add(pattern, static_cast<int32_t>(patterns_.size()));
  patterns_.push_back({id, token.single_word, token.lstrip, token.rstrip});
  const auto first = static_cast<unsigned char>(pattern[0]);
  first_bytes_[first] = true;
  only_first_byte_ = only_first_byte_ == -1 || only_first_byte_ == first ? first : 256;
}

// The next position at which some pattern could begin, or the text's size.
size_t AddedTokenMatcher::find_candidate(std::string_view text, size_t from) const {
  if (only_first_byte_ < 256) return std::min(text.find(static_cast<char>(only_first_byte_), from), text.size());
  while (from < text.size() && !first_bytes_[static_cast<unsigned char>(text[from])]) ++from;
  return from;
}

std::optional<AddedTokenMatcher::Match> AddedTokenMatcher::next(std::string_view text, size_t from) const {
  if (empty()) return {};
  for (size_t at = find_candidate(text, from); at < text.size();) {
    int32_t best = -1;
    size_t end = at + 1;
    uint32_t node = 0;
    for (size_t i = at; i < text.size(); ++i) {
      node = trie_.child(node, static_cast<unsigned char>(text[i]));
      if (node == 0) break;
      if (trie_.value(node) >= 0) {
        best = trie_.value(node);
        end = i + 1;
      }
    }
    if (best < 0) {
      at = find_candidate(text, end);
      continue;
    }
    const Pattern& pattern = patterns_[static_cast<size_t>(best)];
    if (pattern.single_word && (ends_with_word(text.substr(0, at)) || starts_with_word(text.substr(end)))) {
      at = find_candidate(text, end);
      continue;
    }
    size_t begin = at;
    if (pattern.lstrip) begin = std::max(from, trim_end(text.substr(0, at)).size());
    if (pattern.rstrip) end = text.size() - trim_start(text.substr(end)).size();
    return Match{begin, end, pattern.id};
  }
  return {};
}

}  // namespace crisp
