// JSON as text, field by field, laid out as nlohmann's dump() does. No value holds a list or an object meanwhile: one
// that does asks for memory as it goes, and where there is none that ends the process (JsonDocument in json.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace crisp {

/// A line for each field and element, indented by two spaces a level; or all on one line without spaces.
enum class JsonLayout : bool { indented, compact };

class JsonWriter {
 public:
  /// Of an object, to which fields are added.
  explicit JsonWriter(JsonLayout layout = JsonLayout::indented) : layout_(layout) {}

  /// A field of the object that is open: null (nullptr), a truth value, a number, a text in UTF-8, or a list of such
  /// or of lists. A key must not come twice.
  template <class T>
  void field(std::string_view key, const T& value) {
    begin_field(key);
    write(value);
  }
  /// A field that is an object: the following fields are its own, until end().
  void begin(std::string_view key);
  void end();
  /// The text, when all objects but the first have been ended.
  std::string finish();

 private:
  void begin_field(std::string_view key);
  void begin_line();
  void next();
  void open(char bracket);
  void close(char bracket);

  template <class T>
  void write(const T& value) {
    if constexpr (std::is_same_v<T, bool> || std::is_floating_point_v<T> || std::is_same_v<T, std::nullptr_t>) {
      write_leaf(value);
    } else if constexpr (std::is_integral_v<T>) {
      write_leaf(static_cast<std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>(value));
    } else {
      write_leaf(std::string_view(value));
    }
  }
  template <class T>
  void write(const std::vector<T>& list) {
    open('[');
    for (const T& element : list) {
      next();
      write(element);
    }
    close(']');
  }
  void write_leaf(std::nullptr_t);
  void write_leaf(bool value);
  void write_leaf(int64_t value);
  void write_leaf(uint64_t value);
  void write_leaf(double value);
  void write_leaf(std::string_view value);

  const JsonLayout layout_;
  std::string text_ = "{";
  size_t depth_ = 1;
  bool empty_ = true;  // the object or list that is open
};

}  // namespace crisp
