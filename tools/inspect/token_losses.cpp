// What becomes of the bytes of a text on their way to tokens.
#include <fmt/format.h>

#include <algorithm>
#include <climits>

#include "data/input/text.h"
#include "tools/inspect/tokens.h"

namespace crisp::inspect {
namespace {

using Rule = ExplainedToken::Rule;

// A character of the text [begin, end) after some steps of the normalisation.
using Normalised = std::vector<NormalizedChar>;

Normalised normalised(std::string_view text, uint32_t begin, uint32_t end, const NormalizeOptions& options) {
  Normalised chars;
  bert_normalize(text, begin, end, chars, options);
  return chars;
}

// Those that came from the character at `begin`; `at` is after the one before.
std::string from_character(const Normalised& chars, size_t& at, uint32_t begin) {
  std::string result;
  for (; at < chars.size() && chars[at].begin <= begin; ++at)
    if (chars[at].begin == begin) append_utf8(chars[at].code, result);
  return result;
}

std::string joined(const Normalised& chars) {
  std::string result;
  for (const NormalizedChar& c : chars) append_utf8(c.code, result);
  return result;
}

// The steps up to this one alone; ideographs are not moved apart.
NormalizeOptions cleaned(const WordPiece& tokenizer) {
  return {.clean_text = tokenizer.normalization().clean_text,
          .split_cjk = false,
          .strip_accents = false,
          .lower_case = false};
}
NormalizeOptions stripped(const WordPiece& tokenizer) {
  NormalizeOptions options = cleaned(tokenizer);
  options.strip_accents = tokenizer.normalization().strip_accents;
  return options;
}

void add(std::vector<Loss>& losses, Loss loss) {
  if (!losses.empty() && losses.back().rule == loss.rule && losses.back().end == loss.begin &&
      losses.back().becomes.empty() == loss.becomes.empty()) {
    losses.back().end = loss.end;
    losses.back().becomes += loss.becomes;
  } else {
    losses.push_back(std::move(loss));
  }
}

}  // namespace

std::vector<Loss> losses_of(std::string_view text, const std::vector<ExplainedToken>& tokens,
                            const WordPiece& tokenizer) {
  const auto size = static_cast<uint32_t>(text.size());
  const Normalised clean = normalised(text, 0, size, cleaned(tokenizer)),
                   bare = normalised(text, 0, size, stripped(tokenizer));
  std::vector<Loss> losses;
  size_t in_clean = 0, token = 0;
  // Canonical ordering moves accents, so that what is left of a character need not stand where it stood.
  std::vector<NormalizedChar> ordered = bare;
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const NormalizedChar& a, const NormalizedChar& b) { return a.begin < b.begin; });
  size_t in_bare = 0;
  for (uint32_t i = 0; i < size;) {
    while (token < tokens.size() && (tokens[token].rule != Rule::added || tokens[token].span.end <= i)) ++token;
    const Decoded c = decode_utf8(text, i);
    const uint32_t begin = i, end = i + static_cast<uint32_t>(c.length);
    i = end;
    const std::string was = from_character(clean, in_clean, begin), is = from_character(ordered, in_bare, begin);
    if (token < tokens.size() && tokens[token].span.begin <= begin) continue;
    if (c.code < 0)
      add(losses, {Loss::Rule::invalid_utf8, begin, end, was});
    else if (was.empty())
      add(losses, {Loss::Rule::clean_text, begin, end});
    else if (is_white_space(static_cast<char32_t>(c.code)))
      add(losses, {Loss::Rule::white_space, begin, end});
    else if (was != is)
      add(losses, {Loss::Rule::strip_accents, begin, end, is});
  }
  return losses;
}

std::string remark_on(const ExplainedToken& token, std::string_view text, const WordPiece& tokenizer) {
  const auto& [id, begin, end] = token.span;
  switch (token.rule) {
    case Rule::frame:
      return "around every text";
    case Rule::added:
      return "an added token";
    case Rule::long_word:
      return "unknown: too long";
    case Rule::no_piece:
      return "unknown: no piece fits";
    case Rule::piece:
      break;
  }
  const std::string clean = joined(normalised(text, begin, end, cleaned(tokenizer))),
                    bare = joined(normalised(text, begin, end, stripped(tokenizer)));
  NormalizeOptions lower = stripped(tokenizer);
  lower.lower_case = tokenizer.normalization().lower_case;
  std::string remark;
  const auto note = [&remark](bool holds, const char* what) {
    if (holds) remark += std::string(remark.empty() ? "" : ", ") + what;
  };
  note(clean != text_bytes(text, begin, end), "clean_text");
  note(bare != clean, "strip_accents");
  note(joined(normalised(text, begin, end, lower)) != bare, "lower_case");
  return remark;
}

std::string why_unknown(const ExplainedToken& token, std::string_view text, const WordPiece& tokenizer) {
  const auto& [id, begin, end] = token.span;
  if (token.rule == Rule::long_word)
    return fmt::format("a word of {} characters; max_input_chars_per_word is {}", token.characters,
                       tokenizer.max_word_characters());
  if (token.rule != Rule::no_piece) return "";
  // The pieces that were found before: they were the longest ones of the whole word, too.
  std::string before;
  for (const ExplainedToken& piece : tokenizer.explain(text_bytes(text, begin, token.unmatched), INT_MAX))
    if (piece.rule == Rule::piece) before += (before.empty() ? "after " : " ") + tokenizer.token(piece.span.id);
  return fmt::format("{}{}no piece of the vocabulary fits at {}, byte {}", printable(before), before.empty() ? "" : " ",
                     quote(text_bytes(text, token.unmatched, end), 40), token.unmatched);
}

}  // namespace crisp::inspect
