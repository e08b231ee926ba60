// Finding added tokens in a text as Hugging Face's tokenizers do: from the left, the longest first.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "data/byte_trie.h"
#include "data/tokenizer_settings.h"

namespace crisp {

class AddedTokenMatcher {
 public:
  struct Match {
    size_t begin, end;  // bytes of the text, with the white space that the token takes
    int32_t id;
  };

  /// `pattern` is what to look for; an empty one is never found.
  void add(std::string_view pattern, const AddedToken& token, int32_t id);
  bool empty() const { return patterns_.empty(); }
  /// The first one in text[from, end of text), which is all after the one before.
  std::optional<Match> next(std::string_view text, size_t from) const;

 private:
  struct Pattern {
    int32_t id;
    bool single_word, lstrip, rstrip;
  };
  size_t find_candidate(std::string_view text, size_t from) const;

  ByteTrie trie_;  // values: places in patterns_
  std::vector<Pattern> patterns_;
  std::array<bool, 256> first_bytes_{};
  int only_first_byte_ = -1;  // -1: none yet; 256: several
};

}  // namespace crisp
