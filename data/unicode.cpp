#include "data/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "data/input/text.h"
#include "data/unicode_tables.h"

namespace crisp {
namespace {

constexpr char32_t replacement_character = 0xFFFD;
constexpr char32_t capital_i_with_dot = 0x130;

template <class Range, size_t N>
const Range* find_range(const Range (&ranges)[N], char32_t code) {
  const auto* at = std::lower_bound(std::begin(ranges), std::end(ranges), code,
                                    [](const Range& range, char32_t c) { return range.last < c; });
  return at != std::end(ranges) && at->first <= code ? at : nullptr;
}

// The first character of a text that is not empty; a byte that is no UTF-8 is U+FFFD.
struct Character {
  char32_t code;
  size_t length;  // in bytes
};
Character first_character(std::string_view text) {
  const Decoded c = decode_utf8(text);
  return {c.code < 0 ? replacement_character : static_cast<char32_t>(c.code), c.length};
}

// Where the last character begins.
size_t last_character(std::string_view text) {
  size_t start = text.size() - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return start;
}

int category(char32_t code) { return utf8proc_category(static_cast<utf8proc_int32_t>(code)); }

bool is_dropped(char32_t code) {
  if (code == '\t' || code == '\n' || code == '\r') return false;
  if (code == 0 || code == replacement_character) return true;
  switch (category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
      return !find_range(kept_controls, code);
    default:
      return false;
  }
}

// The ranges of HF, which has 0x2B920 where Google's code has 0x2B820.
bool is_cjk(char32_t code) {
  return (code >= 0x4E00 && code <= 0x9FFF) || (code >= 0x3400 && code <= 0x4DBF) ||
         (code >= 0x20000 && code <= 0x2A6DF) || (code >= 0x2A700 && code <= 0x2B73F) ||
         (code >= 0x2B740 && code <= 0x2B81F) || (code >= 0x2B920 && code <= 0x2CEAF) ||
         (code >= 0xF900 && code <= 0xFAFF) || (code >= 0x2F800 && code <= 0x2FA1F);
}

bool is_accent(char32_t code) {
  if (category(code) == UTF8PROC_CATEGORY_MN) return !find_range(kept_marks, code);
  return find_range(extra_marks, code) != nullptr;
}

int combining_class(char32_t code) {
  const int value = utf8proc_get_property(static_cast<utf8proc_int32_t>(code))->combining_class;
  return value != 0 && find_range(starters, code) ? 0 : value;
}

char32_t lower(char32_t code) {
  if (code < 0x80) return code >= 'A' && code <= 'Z' ? code + ('a' - 'A') : code;
  if (const auto* range = find_range(lowered_ranges, code)) {
    return static_cast<char32_t>(static_cast<int32_t>(code) + range->delta);
  }
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
}

// Canonical decomposition of one character.
void decompose(char32_t code, uint32_t from, uint32_t to, std::vector<NormalizedChar>& out) {
  if (find_range(undecomposed, code)) {
    out.push_back({code, from, to});
    return;
  }
  utf8proc_int32_t parts[32];  // the longest one in Unicode has 4 characters
  int boundary = 0;
  const auto count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), parts, std::size(parts),
                              static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &boundary);
  for (utf8proc_ssize_t j = 0; j < count; ++j) out.push_back({static_cast<char32_t>(parts[j]), from, to});
}

bool is_word_character(char32_t code) {
  switch (category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:  // Join_Control, and the symbols that are Other_Alphabetic: letters in circles and squares
      return code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
             (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
             (code >= 0x1F170 && code <= 0x1F189);
  }
}

// Canonical ordering: a stable sort by combining class of each run of characters whose class is not 0. It comes before
// accents are dropped, because an accent of class 0 ends a run.
void order_marks(std::vector<NormalizedChar>& chars, size_t first) {
  const auto by_class = [](const NormalizedChar& a, const NormalizedChar& b) {
    return combining_class(a.code) < combining_class(b.code);
  };
  for (size_t i = first; i < chars.size();) {
    if (chars[i].code < 0x300 || combining_class(chars[i].code) == 0) {
      ++i;
      continue;
    }
    size_t end = i + 1;
    while (end < chars.size() && combining_class(chars[end].code) != 0) ++end;
    std::stable_sort(chars.begin() + static_cast<std::ptrdiff_t>(i), chars.begin() + static_cast<std::ptrdiff_t>(end),
                     by_class);
    i = end;
  }
}

}  // namespace

void bert_normalize(std::string_view text, size_t begin, size_t end, std::vector<NormalizedChar>& out,
                    const NormalizeOptions& options) {
  const size_t first = out.size();
  for (size_t i = begin; i < end;) {
    const auto [code, length] = first_character(text.substr(i, end - i));
    const auto from = static_cast<uint32_t>(i), to = static_cast<uint32_t>(i + length);
    i = to;
    if (options.clean_text && is_dropped(code)) continue;
    if (code < 0x80 || is_white_space(code)) {
      out.push_back({options.clean_text && is_white_space(code) ? U' ' : code, from, to});
      continue;
    }
    const bool cjk = options.split_cjk && is_cjk(code);
    if (cjk) out.push_back({U' ', from, from});
    if (options.strip_accents) {
      decompose(code, from, to, out);
    } else {
      out.push_back({code, from, to});
    }
    if (cjk) out.push_back({U' ', to, to});
  }
  if (options.strip_accents) {
    order_marks(out, first);
    out.erase(std::remove_if(out.begin() + static_cast<std::ptrdiff_t>(first), out.end(),
                             [](const NormalizedChar& c) { return c.code >= 0x80 && is_accent(c.code); }),
              out.end());
  }
  if (!options.lower_case) return;
  // One character's lower case is two, i and U+0307: everything moves to its place from the back.
  size_t from = out.size();
  const auto twofold = std::count_if(out.begin() + static_cast<std::ptrdiff_t>(first), out.end(),
                                     [](const NormalizedChar& c) { return c.code == capital_i_with_dot; });
  out.resize(from + static_cast<size_t>(twofold));
  for (size_t to = out.size(); from > first;) {
    NormalizedChar c = out[--from];
    if (c.code == capital_i_with_dot) {
      out[--to] = {U'\u0307', c.begin, c.end};
      c.code = U'i';
    } else {
      c.code = lower(c.code);
    }
    out[--to] = c;
  }
}

bool is_bert_punctuation(char32_t code) {
  if (code < 0x80) {
    return (code >= 33 && code <= 47) || (code >= 58 && code <= 64) || (code >= 91 && code <= 96) ||
           (code >= 123 && code <= 126);
  }
  const int kind = category(code);
  if (kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO) return !find_range(not_punctuation, code);
  return find_range(extra_punctuation, code) != nullptr;
}

bool is_white_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

std::string_view trim_end(std::string_view text) {
  while (!text.empty()) {
    const size_t start = last_character(text);
    if (!is_white_space(first_character(text.substr(start)).code)) break;
    text = text.substr(0, start);
  }
  return text;
}

std::string_view trim_start(std::string_view text) {
  while (!text.empty()) {
    const auto [code, length] = first_character(text);
    if (!is_white_space(code)) break;
    text.remove_prefix(length);
  }
  return text;
}

bool starts_with_word(std::string_view text) { return !text.empty() && is_word_character(first_character(text).code); }

bool ends_with_word(std::string_view text) {
  return !text.empty() && is_word_character(first_character(text.substr(last_character(text))).code);
}

void append_utf8(char32_t code, std::string& out) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

}  // namespace crisp
