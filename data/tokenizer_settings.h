// All that a BERT tokenizer is besides its vocabulary, under the names of Hugging Face's tokenizer files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace crisp {

/// A token that is recognised as a whole before the rest of a text is split.
struct AddedToken {
  std::string content;
  bool special = true;
  bool normalized = false;  // looked for in the normalised text, itself normalised; else in the text as it is
  bool single_word = false;
  bool lstrip = false, rstrip = false;  // takes white space before, after it
  int32_t stated_id = -1;               // the id that a file gives it, -1 when none does
  std::string where = {};               // the file that adds or names it, "" when none does
};

/// Defaults are those of an uncased BERT without tokenizer_config.json.
struct TokenizerSettings {
  bool clean_text = true;                  // control characters go, white space becomes spaces
  bool lower_case = true;                  // do_lower_case
  std::optional<bool> strip_accents = {};  // unset: as lower_case
  bool tokenize_chinese_chars = true;      // each CJK ideograph is a word
  std::string continuation = "##";         // continuing_subword_prefix
  int64_t max_word_characters = 100;       // max_input_chars_per_word, at most longest_word
  bool truncate_left = false;              // truncation_side
  bool split_special_tokens = false;       // special tokens in a text are ordinary text
  std::string unk = "[UNK]", cls = "[CLS]", sep = "[SEP]";
  std::string pad = "[PAD]", mask = "[MASK]";  // empty: none
  /// In the order in which they are added: one that the vocabulary lacks gets the next id after it. Of two with the
  /// same content the later one counts.
  std::vector<AddedToken> added = {{"[UNK]"}, {"[SEP]"}, {"[PAD]"}, {"[CLS]"}, {"[MASK]"}};

  bool strips_accents() const { return strip_accents.value_or(lower_case); }
  /// Whether it is the unknown token, [CLS], [SEP], [PAD] or [MASK].
  bool names(const std::string& token) const {
    return token == unk || token == cls || token == sep || token == pad || token == mask;
  }

  static constexpr int64_t longest_word = 1000;
};

/// Tokens by id, and how many there are: an id without a token is empty here and not counted.
struct Vocabulary {
  std::vector<std::string> tokens;
  size_t count = 0;
};

}  // namespace crisp
