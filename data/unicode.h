// The Unicode part of WordPiece for BERT: what Hugging Face's `BertNormalizer` and `BertPreTokenizer` do to a
// text before the vocabulary is consulted. utf8proc has the data; unicode_tables.h has the places where HF differs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace crisp {

/// A character after normalisation, and the bytes [begin, end) of the original text that it came from.
struct NormalizedChar {
  char32_t code;
  uint32_t begin, end;
};

/// Steps of the normalisation, in their order; the defaults are those of an uncased BERT.
struct NormalizeOptions {
  bool clean_text = true;     // control characters dropped, white space mapped to U+0020
  bool split_cjk = true;      // spaces around CJK ideographs
  bool strip_accents = true;  // NFD, accents (Mn) dropped
  bool lower_case = true;     // character by character
};

/// Appends the normalised form of text[begin, end) to `out`. Bytes that are not UTF-8 count as U+FFFD, which is dropped
/// where the text is cleaned.
void bert_normalize(std::string_view text, size_t begin, size_t end, std::vector<NormalizedChar>& out,
                    const NormalizeOptions& options = {});

/// A character that is a word of its own: ASCII punctuation and symbols, and Unicode P* as of 2015.
bool is_bert_punctuation(char32_t code);

/// Unicode's White_Space property.
bool is_white_space(char32_t code);

/// The text without the white space at its end, at its start.
std::string_view trim_end(std::string_view text);
std::string_view trim_start(std::string_view text);

/// Whether the first, the last character belongs to a word: \w of Unicode's regular expressions (UTS 18).
bool starts_with_word(std::string_view text);
bool ends_with_word(std::string_view text);

/// Appends the UTF-8 form of a code point.
void append_utf8(char32_t code, std::string& out);

}  // namespace crisp
