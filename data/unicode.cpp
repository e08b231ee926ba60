#include "data/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "data/unicode_tables.h"

namespace crisp {
namespace {

constexpr char32_t replacement_character = 0xFFFD;

template <class Range, size_t N>
const Range* find_range(const Range (&ranges)[N], char32_t code) {
  const auto* at = std::lower_bound(std::begin(ranges), std::end(ranges), code,
                                    [](const Range& range, char32_t c) { return range.last < c; });
  return at != std::end(ranges) && at->first <= code ? at : nullptr;
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
  if (const auto* range = find_range(lowered_ranges, code)) {
    return static_cast<char32_t>(static_cast<int32_t>(code) + range->delta);
  }
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
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

void bert_normalize(std::string_view text, size_t begin, size_t end, std::vector<NormalizedChar>& out) {
  const size_t first = out.size();
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t i = begin; i < end;) {
    utf8proc_int32_t decoded;
    auto length = utf8proc_iterate(bytes + i, static_cast<utf8proc_ssize_t>(end - i), &decoded);
    if (length <= 0) {
      decoded = replacement_character;
      length = 1;
    }
    const auto code = static_cast<char32_t>(decoded);
    const auto from = static_cast<uint32_t>(i), to = static_cast<uint32_t>(i + static_cast<size_t>(length));
    i = to;
    if (is_dropped(code)) continue;
    if (code < 0x80 || is_white_space(code)) {
      out.push_back({is_white_space(code) ? U' ' : code, from, to});
    } else if (is_cjk(code)) {
      out.push_back({U' ', from, from});
      // A compatibility ideograph decomposes to exactly one unified ideograph.
      utf8proc_int32_t unified;
      int boundary = 0;
      utf8proc_decompose_char(decoded, &unified, 1,
                              static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &boundary);
      out.push_back({static_cast<char32_t>(unified), from, to});
      out.push_back({U' ', to, to});
    } else if (find_range(undecomposed, code)) {
      out.push_back({code, from, to});
    } else {
      utf8proc_int32_t parts[32];  // the longest canonical decomposition in Unicode has 4 characters
      int boundary = 0;
      const auto count =
          utf8proc_decompose_char(decoded, parts, std::size(parts),
                                  static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &boundary);
      for (utf8proc_ssize_t j = 0; j < count; ++j) out.push_back({static_cast<char32_t>(parts[j]), from, to});
    }
  }
  order_marks(out, first);
  size_t kept = first;
  for (size_t i = first; i < out.size(); ++i) {
    NormalizedChar c = out[i];
    if (c.code >= 0x80) {
      if (is_accent(c.code)) continue;
      c.code = lower(c.code);
    } else if (c.code >= 'A' && c.code <= 'Z') {
      c.code += 'a' - 'A';
    }
    out[kept++] = c;
  }
  out.resize(kept);
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
    size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    utf8proc_int32_t code;
    utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + start,
                     static_cast<utf8proc_ssize_t>(text.size() - start), &code);
    if (!is_white_space(static_cast<char32_t>(code))) break;
    text = text.substr(0, start);
  }
  return text;
}

void append_utf8(char32_t code, std::string& out) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

}  // namespace crisp
