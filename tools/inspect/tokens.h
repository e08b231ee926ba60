// crisp-inspect tokens: what a tokenizer makes of a text, and what it loses.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/wordpiece.h"

namespace crisp::inspect {

inline std::string_view text_bytes(std::string_view text, uint32_t begin, uint32_t end) {
  return text.substr(begin, end - begin);
}

/// A run of bytes [begin, end) of a text that reaches no token as it is.
struct Loss {
  enum class Rule : uint8_t {
    invalid_utf8,   // dropped by clean_text, or U+FFFD where that is off
    clean_text,     // a control, format or private character
    white_space,    // between words
    strip_accents,  // an accent, or a character that has become others
  };
  Rule rule;
  uint32_t begin, end;
  std::string becomes = {};  // nothing, or what is left of the bytes
};

/// In the text's order; neighbours of one rule are one. Each byte of a text is in one of these or in a token. Added
/// tokens lose nothing.
std::vector<Loss> losses_of(std::string_view text, const std::vector<ExplainedToken>& tokens,
                            const WordPiece& tokenizer);

/// What tells a token from the bytes that it stands for, or how it came about: "lower_case", "unknown: no piece fits";
/// "" where it is these bytes.
std::string remark_on(const ExplainedToken& token, std::string_view text, const WordPiece& tokenizer);

/// Why a token is unknown, in a sentence; "" for one that is known, or that the text itself names.
std::string why_unknown(const ExplainedToken& token, std::string_view text, const WordPiece& tokenizer);

}  // namespace crisp::inspect
