// JSON that strangers wrote, read strictly: RFC 8259, bounded depth, no key twice, errors with line and column; and its
// fields with their types and ranges checked.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "data/input/interval.h"

namespace crisp {

/// Objects and lists within one another, at most.
inline constexpr int json_depth_limit = 64;

enum class JsonComments : bool { refused, allowed };

/// Parses one JSON value; a byte order mark before it is skipped. Throws BadInput ("where:line:column: ...") for
/// anything else than well-formed UTF-8 and JSON, values nested deeper than json_depth_limit, and a key that one object
/// has twice.
nlohmann::json parse_json(std::string_view text, const std::string& where,
                          JsonComments comments = JsonComments::refused);
/// The same for a line of a file of JSON lines, which has this number there.
nlohmann::json parse_json_line(std::string_view line, const std::string& where, size_t number);
/// The same with the keys in the file's order, of which an object may have 10,000.
nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& where,
                                          JsonComments comments = JsonComments::refused);

/// A value that asks for no memory when it goes. nlohmann's own does (its destructor keeps what is inside a list or
/// object in another list meanwhile), and where there is none that is the end of the process: a library's values are
/// these, and what it writes goes through JsonWriter.
class JsonDocument : public nlohmann::json {
 public:
  JsonDocument() = default;
  JsonDocument(nlohmann::json value) : nlohmann::json(std::move(value)) {}
  JsonDocument(JsonDocument&&) = default;
  JsonDocument& operator=(JsonDocument&& other) noexcept;
  ~JsonDocument();
};

/// The object that parse_ordered_json makes of the text; none where it would throw or make something else: for files of
/// our own that an interruption may have cut, where "damaged" is an answer.
std::optional<nlohmann::ordered_json> try_json_object(std::string_view text);

/// A value as it may be shown in a message: short, on one line, without control characters.
std::string show_json(const nlohmann::json& value);
std::string show_json(const nlohmann::ordered_json& value);

/// The fields of a JSON object. A field that is absent or null is none; one of another type or out of its range throws
/// BadInput with `where` (a file, perhaps with a place in it), the key, the value and what it must be. Both arguments
/// must outlive it, as must what it returns pointers to.
template <class Json>
class JsonFields {
 public:
  /// Throws BadInput when `object` is none.
  JsonFields(const Json& object, const std::string& where);

  /// nullptr for none.
  const Json* find(const char* key) const;
  bool has(const char* key) const { return find(key) != nullptr; }
  /// Whether the key is there, if only with null.
  bool contains(const char* key) const { return object_.contains(key); }

  std::optional<std::string> text(const char* key) const;
  std::optional<bool> flag(const char* key) const;
  std::optional<double> real(const char* key, const Interval& interval) const;
  /// From `low` to `high`, both included.
  std::optional<int64_t> whole(const char* key, int64_t low, int64_t high) const;
  /// An element of a list under `key`, by the same rules.
  double real(const char* key, const Json& value, const Interval& interval) const;
  int64_t whole(const char* key, const Json& value, int64_t low, int64_t high) const;
  const Json* list(const char* key) const;
  const Json* object(const char* key) const;

  /// What `field` (of this key) holds; BadInput when it is none.
  template <class T>
  T need(const char* key, std::optional<T> field) const {
    if (!field) refuse_missing(key);
    return *std::move(field);
  }

  /// Throws BadInput when there is a key that is not among `known`.
  void refuse_unknown(std::initializer_list<std::string_view> known) const;
  /// Throws BadInput: the key's value is not what it `must` be, "a number from 0 to 1" for instance.
  [[noreturn]] void refuse(const char* key, const Json& value, const std::string& must) const;
  [[noreturn]] void refuse_missing(const char* key) const;
  const std::string& where() const { return where_; }

 private:
  const Json& object_;
  const std::string& where_;
};

template <class Json>
JsonFields(const Json&, const std::string&) -> JsonFields<Json>;

}  // namespace crisp
