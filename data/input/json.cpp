#include "data/input/json.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <type_traits>
#include <unordered_set>
#include <vector>

#include "data/input/text.h"
#include "engine/fail.h"

namespace crisp {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// An ordered object is searched key by key for every key that comes.
constexpr size_t ordered_keys_limit = 10'000;

// "file:3:14", lines and characters counted from 1.
std::string place(std::string_view text, size_t at, const std::string& where, size_t first_line) {
  const std::string_view before = text.substr(0, at);
  const size_t line_start = before.rfind('\n') + 1;  // 0 for npos
  const auto line = static_cast<std::ptrdiff_t>(first_line) + std::count(before.begin(), before.end(), '\n');
  const auto column = 1 + std::count_if(before.begin() + static_cast<std::ptrdiff_t>(line_start), before.end(),
                                        [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  return fmt::format("{}:{}:{}", where, line, column);
}

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '+' || c == '.';
}

// Of an escape that the parser stopped in, with what it is; empty where it did not.
std::string bad_escape(std::string_view text, size_t at) {
  const size_t begin = text.substr(0, at).rfind('\\');
  if (begin == std::string_view::npos || at - begin > 11) return "";
  // A backslash behind an odd number of others is escaped itself.
  size_t backslashes = 1;
  while (backslashes <= begin && text[begin - backslashes] == '\\') ++backslashes;
  if (backslashes % 2 == 0) return "";
  if (at == begin + 1)
    return fmt::format("the escape {} is none of JSON's; write \\\\ for a backslash",
                       printable(text.substr(begin, std::min<size_t>(2, text.size() - begin))));
  if (text[begin + 1] != 'u') return "";
  if (at < begin + 6 && std::isxdigit(static_cast<unsigned char>(text[at])) == 0)
    return fmt::format("the escape {} needs four hexadecimal digits", printable(text.substr(begin, at + 1 - begin)));
  // A character beyond U+FFFF is two escapes, \ud800 to \udbff and \udc00 to \udfff.
  const auto is_half = [&](size_t escape, std::string_view third) {
    return text.substr(escape).starts_with("\\u") && (text[escape + 2] == 'd' || text[escape + 2] == 'D') &&
           third.find(text[escape + 3]) != std::string_view::npos;
  };
  const bool second = begin >= 6 && is_half(begin - 6, "89abAB"), low = is_half(begin, "cdefCDEF");
  const auto half = [&](size_t escape) {
    return fmt::format("the escape {} is half of a surrogate pair", printable(text.substr(escape, 6)));
  };
  if (at == begin + 5 && second != low) return half(second ? begin - 6 : begin);
  return at == begin + 6 && is_half(begin, "89abAB") ? half(begin) : "";
}

// What a person finds at text[at], where the parser stopped.
std::string complaint(std::string_view text, size_t at) {
  if (at >= text.size()) return "the JSON ends before it is complete";
  if (static_cast<unsigned char>(text[at]) < 0x20 && text[at] != '\n' && text[at] != '\r' && text[at] != '\t')
    return fmt::format("the control character {} is not allowed in JSON", quote(text.substr(at, 1)));
  if (text[at] == '\n' || text[at] == '\r' || text[at] == '\t')
    return "a string is not closed on its line, or holds a line break or tab that is not written \\n or \\t";
  if (const std::string escape = bad_escape(text, at); !escape.empty()) return escape;
  size_t begin = at, end = at + 1;
  if (is_word(text[at])) {
    while (begin > 0 && is_word(text[begin - 1])) --begin;
    while (end < text.size() && is_word(text[end])) ++end;
  }
  const std::string_view word = text.substr(begin, end - begin);
  for (const std::string_view foreign : {"NaN", "-NaN", "Infinity", "-Infinity", "inf", "-inf", "nan"})
    if (word == foreign) return fmt::format("{} is not a number in JSON; write a finite number, or null", word);
  for (const auto& [foreign, right] : {std::pair{"None", "null"}, {"True", "true"}, {"False", "false"}})
    if (word == foreign) return fmt::format("{} is Python, not JSON; write {}", word, right);
  if (word == "'") return "strings stand in double quotes in JSON";
  if (word == "/" || word == "#") return "comments are not allowed in JSON";
  if (word == "}" || word == "]") {
    const size_t before = text.substr(0, at).find_last_not_of(" \t\r\n");
    if (before != std::string_view::npos && text[before] == ',')
      return fmt::format("a comma before {} is not allowed in JSON", word);
  }
  const size_t last = text.find_first_not_of(" \t\r\n");
  if (last == begin) return fmt::format("this is not JSON: {}", quote(text.substr(begin, 40), 32));
  return fmt::format("unexpected {}, this is not valid JSON", quote(word, 32));
}

// What Watch finds, at the n-th key or bracket of the text, counted from 1.
struct Refused {
  std::string what;
  size_t key = 0, bracket = 0;
};

// Watches what the parser itself lets pass: depth, and keys that come twice.
template <class Json>
class Watch {
 public:
  bool operator()(int depth, typename Json::parse_event_t event, Json& value) {
    using Event = typename Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      ++brackets_;
      if (depth >= json_depth_limit)
        throw Refused{fmt::format("JSON nested deeper than {} levels is refused", json_depth_limit), 0, brackets_};
    }
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key) {
      const auto& key = value.template get_ref<const std::string&>();
      ++seen_;
      if (!keys_.back().insert(key).second)
        throw Refused{fmt::format("{} is there twice in one object", quote(key)), seen_};
      if (std::is_same_v<Json, ordered_json> && keys_.back().size() > ordered_keys_limit)
        throw Refused{fmt::format("more than {} keys in one object are refused here", ordered_keys_limit), seen_};
    }
    return true;
  }

 private:
  size_t seen_ = 0, brackets_ = 0;                     // so far in the text
  std::vector<std::unordered_set<std::string>> keys_;  // of the objects around
};

// Where the text goes on after white space and comments.
size_t skip_space(std::string_view text, size_t at) {
  for (;;) {
    at = std::min(text.find_first_not_of(" \t\r\n", at), text.size());
    const char* const end = text.substr(at).starts_with("//")   ? "\n"
                            : text.substr(at).starts_with("/*") ? "*/"
                                                                : nullptr;
    if (end == nullptr) return at;
    const size_t found = text.find(end, at + 2);
    at = found == std::string_view::npos ? text.size() : found + std::string_view(end).size();
  }
}

// The place of what was refused in a text that the parser took till there.
size_t position_of(const Refused& refused, std::string_view text) {
  size_t keys = 0, brackets = 0;
  for (size_t at = skip_space(text, 0); at < text.size(); at = skip_space(text, at)) {
    const size_t begin = at++;
    if (text[begin] == '{' || text[begin] == '[') {
      if (++brackets == refused.bracket) return begin;
    } else if (text[begin] == '"') {
      while (at < text.size() && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
      at = skip_space(text, at + 1);
      if (at < text.size() && text[at] == ':' && ++keys == refused.key) return begin;
    }
  }
  return text.size();
}

template <class Json>
Json parse(std::string_view text, const std::string& where, JsonComments comments, size_t first_line = 1) {
  const auto at_byte = [&](size_t at) { return place(text, std::min(at, text.size()), where, first_line); };
  text = without_byte_order_mark(text);
  if (const size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    fail<BadInput>("{}: the byte 0x{:02X} is not valid UTF-8; save the file as UTF-8", at_byte(bad),
                   static_cast<unsigned char>(text[bad]));
  }
  // The parser would take a NUL for the end.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    fail<BadInput>("{}: a NUL byte is not allowed in JSON", at_byte(nul));
  try {
    return Json::parse(text.begin(), text.end(), Watch<Json>(), true, comments == JsonComments::allowed);
  } catch (const Refused& refused) {
    fail<BadInput>("{}: {}", at_byte(position_of(refused, text)), refused.what);
  } catch (const typename Json::parse_error& error) {
    const size_t at = error.byte > 0 ? error.byte - 1 : 0;
    fail<BadInput>("{}: {}", at_byte(at), complaint(text, at));
  } catch (const typename Json::out_of_range& error) {
    // "[json.exception.out_of_range.406] number overflow parsing '1e999'"
    const std::string_view what = error.what();
    const size_t begin = what.find('\'');
    const std::string_view number =
        begin == std::string_view::npos ? what : what.substr(begin + 1, what.rfind('\'') - begin - 1);
    fail<BadInput>("{}: the number {} is too large", at_byte(text.find(number)), quote(number, 32));
  }
}

template <class Json>
std::string show(const Json& value) {
  constexpr size_t limit = 80;
  if (value.is_object()) return value.empty() ? "{}" : "an object";
  if (value.is_string()) return quote(value.template get_ref<const std::string&>(), limit);
  if (!value.is_array()) return value.dump();
  std::string list = "[";
  for (const Json& element : value) {
    if (list.size() > 1) list += ", ";
    if (list.size() > limit) return list + "...]";
    list += element.is_array() && !element.empty() ? "a list" : show(element);
  }
  return list + "]";
}

// Lists and objects lose what is in them from the inside out: an empty one's destructor asks for nothing.
void take_apart(json& value) noexcept {
  if (!value.is_structured()) return;
  for (json& element : value) take_apart(element);
  value.clear();
}

}  // namespace

JsonDocument::~JsonDocument() { take_apart(*this); }

JsonDocument& JsonDocument::operator=(JsonDocument&& other) noexcept {
  take_apart(*this);
  nlohmann::json::operator=(std::move(static_cast<nlohmann::json&>(other)));
  return *this;
}

json parse_json(std::string_view text, const std::string& where, JsonComments comments) {
  return parse<json>(text, where, comments);
}

json parse_json_line(std::string_view line, const std::string& where, size_t number) {
  return parse<json>(line, where, JsonComments::refused, number);
}

ordered_json parse_ordered_json(std::string_view text, const std::string& where, JsonComments comments) {
  return parse<ordered_json>(text, where, comments);
}

std::optional<ordered_json> try_json_object(std::string_view text) try {
  ordered_json value = parse<ordered_json>(text, "", JsonComments::refused);
  return value.is_object() ? std::optional(std::move(value)) : std::nullopt;
} catch (const BadInput&) {
  return std::nullopt;
}

std::string show_json(const json& value) { return show(value); }
std::string show_json(const ordered_json& value) { return show(value); }

template <class Json>
JsonFields<Json>::JsonFields(const Json& object, const std::string& where) : object_(object), where_(where) {
  if (!object.is_object()) fail<BadInput>("{}: expected a JSON object, not {}", where, show(object));
}

template <class Json>
const Json* JsonFields<Json>::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

template <class Json>
std::optional<std::string> JsonFields<Json>::text(const char* key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_string()) refuse(key, *value, "a string");
  return value->template get<std::string>();
}

template <class Json>
std::optional<bool> JsonFields<Json>::flag(const char* key) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_boolean()) refuse(key, *value, "true or false");
  return value->template get<bool>();
}

template <class Json>
double JsonFields<Json>::real(const char* key, const Json& value, const Interval& interval) const {
  if (!value.is_number() || !interval.contains(value.template get<double>())) refuse(key, value, interval.str());
  return value.template get<double>();
}

template <class Json>
std::optional<double> JsonFields<Json>::real(const char* key, const Interval& interval) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  return real(key, *value, interval);
}

template <class Json>
int64_t JsonFields<Json>::whole(const char* key, const Json& value, int64_t low, int64_t high) const {
  const bool fits = value.is_number_integer() &&
                    !(value.is_number_unsigned() && value.template get<uint64_t>() > uint64_t{INT64_MAX});
  if (fits) {
    const auto n = value.template get<int64_t>();
    if (n >= low && n <= high) return n;
  }
  refuse(key, value, fmt::format("a whole number from {} to {}", low, high));
}

template <class Json>
std::optional<int64_t> JsonFields<Json>::whole(const char* key, int64_t low, int64_t high) const {
  const Json* value = find(key);
  if (!value) return std::nullopt;
  return whole(key, *value, low, high);
}

template <class Json>
const Json* JsonFields<Json>::list(const char* key) const {
  const Json* value = find(key);
  if (value && !value->is_array()) refuse(key, *value, "a list");
  return value;
}

template <class Json>
const Json* JsonFields<Json>::object(const char* key) const {
  const Json* value = find(key);
  if (value && !value->is_object()) refuse(key, *value, "an object");
  return value;
}

template <class Json>
void JsonFields<Json>::refuse_unknown(std::initializer_list<std::string_view> known) const {
  for (const auto& [key, value] : object_.items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail<BadInput>("{}: there is no key {}; known are {}", where_, quote(key),
                     fmt::join(known.begin(), known.end(), ", "));
}

template <class Json>
void JsonFields<Json>::refuse(const char* key, const Json& value, const std::string& must) const {
  fail<BadInput>("{}: {} is {}; it must be {}", where_, quote(key), show(value), must);
}

template <class Json>
void JsonFields<Json>::refuse_missing(const char* key) const {
  fail<BadInput>("{}: {} is missing", where_, quote(key));
}

template class JsonFields<json>;
template class JsonFields<ordered_json>;

}  // namespace crisp
