// What people choose, declared once: its names, the values that it takes, what it means, whether the record of a run
// tells it. Whatever reads or writes settings (a command line, a study, the record of a run, the C interface, the table
// in a README) goes through the declaration.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "data/input/interval.h"
#include "data/input/parse_text.h"

namespace crisp {

/// A value as it is written down; std::monostate where none is set.
using SettingValue = std::variant<std::monostate, bool, int64_t, uint64_t, double, std::string,
                                  std::vector<std::string>, std::vector<int64_t>>;
/// As Setting::set takes it, with all digits of a number: "2e-05", "on", "a,b"; "" where none is set.
std::string show_value(const SettingValue& value);
/// The value as this class of JSON, null where none is set.
template <class Json>
Json as_json(const SettingValue& value) {
  const auto convert = [](const auto& v) -> Json {
    if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::monostate>)
      return {};
    else
      return v;
  };
  return std::visit(convert, value);
}

/// Whether the record of a run tells a setting: not at all; for whoever wants to know; or as a part of what makes the
/// run the one that it is, so that it is resumed with the same value only.
enum class Recorded : uint8_t { no, yes, fingerprint };

/// One choice of an object of the class Options.
template <class Options>
struct Setting {
  std::string names;  // "learning-rate,lr": the first is its name, command lines understand the others, too
  std::string type;   // what stands for the value where settings are listed, "N"; "" of a flag, which needs none
  std::string help;
  /// Takes a text. Returns what is wrong with it, "must be a number from 0 to 1, not '2'", and changes nothing then.
  std::function<std::string(Options&, const std::string&)> set;
  /// The value that holds: the default where none was chosen.
  std::function<SettingValue(const Options&)> get;
  /// What is wrong with the value as it is, "" for nothing: for options that a program has filled in.
  std::function<std::string(const Options&)> complaint;
  Recorded recorded = Recorded::no;
  std::string group = {};  // the heading that it stands under
  std::string range = {};  // of numbers: "a number from 0 to 1"

  bool is_flag() const { return type.empty(); }
  std::string name() const { return names.substr(0, names.find(',')); }
  /// "learning_rate": its name in JSON.
  std::string key() const;

  /// The same choice of a class that has these options among others.
  template <class Derived>
  requires std::is_base_of_v<Options, Derived>
  operator Setting<Derived>() const { return {names, type, help, set, get, complaint, recorded, group, range}; }
};

template <class Options>
using Settings = std::vector<Setting<Options>>;

/// By its first name; nullptr for a name that none has.
template <class Options>
const Setting<Options>* find_setting(const Settings<Options>& settings, std::string_view name) {
  for (const Setting<Options>& setting : settings)
    if (setting.name() == name) return &setting;
  return nullptr;
}

/// Adds `more`, under the heading `group`.
template <class Options, class Base>
void append_settings(Settings<Options>& settings, const std::string& group, const Settings<Base>& more) {
  for (const Setting<Base>& setting : more) settings.emplace_back(setting).group = group;
}

// --- What a setting may be.

/// The whole numbers from `least` to `most`.
struct WholeNumbers {
  int64_t least, most;
  bool contains(int64_t n) const { return n >= least && n <= most; }
  std::string str() const;
};
/// Every number of 64 bits.
struct Seeds {
  bool contains(uint64_t) const { return true; }
  std::string str() const { return "a whole number, at least 0 and below 2^64"; }
};

namespace setting {

/// "must be RANGE, not 'VALUE'"
std::string must_be(const std::string& range, const std::string& value);

template <class T>
struct Value {
  using type = T;
};
template <class T>
struct Value<std::optional<T>> {
  using type = T;
};

template <class T>
SettingValue value_of(const T& value) {
  if constexpr (std::is_same_v<T, int>)
    return int64_t{value};
  else
    return value;
}

/// A number of a range. `unset`: what holds where an optional one is none.
template <class C, class T, class Range>
Setting<C> number(const char* names, T C::*member, Range range, const char* help, const SettingValue& unset = {}) {
  using Number = typename Value<T>::type;
  constexpr bool is_optional = !std::is_same_v<T, Number>;
  const auto set = [member, range](C& o, const std::string& text) -> std::string {
    const std::optional<Number> number = parse_number<Number>(text);
    if (!number || !range.contains(*number)) return must_be(range.str(), text);
    o.*member = *number;
    return "";
  };
  const auto get = [member, unset](const C& o) -> SettingValue {
    if constexpr (is_optional)
      return o.*member ? value_of(*(o.*member)) : unset;
    else
      return value_of(o.*member);
  };
  const auto complaint = [member, range, get](const C& o) -> std::string {
    if constexpr (is_optional)
      return !(o.*member) || range.contains(*(o.*member)) ? "" : must_be(range.str(), show_value(get(o)));
    else
      return range.contains(o.*member) ? "" : must_be(range.str(), show_value(get(o)));
  };
  return {names,      std::is_floating_point_v<Number> ? "X" : "N", help, set, get, complaint, Recorded::no, {},
          range.str()};
}

/// A word of a few; `shown`: those that are listed. The first word of a value is the one that is written.
template <class C, class T>
Setting<C> word(const char* names, T C::*member, std::vector<std::pair<std::string, T>> words, const char* shown,
                const char* help) {
  const auto set = [member, words, shown](C& o, const std::string& text) -> std::string {
    for (const auto& [word, value] : words) {
      if (text != word) continue;
      o.*member = value;
      return "";
    }
    return must_be(std::string("one of ").append(shown), text);
  };
  const auto get = [member, words](const C& o) -> SettingValue {
    for (const auto& [word, value] : words)
      if (o.*member == value) return word;
    return {};
  };
  const auto complaint = [get, shown](const C& o) -> std::string {
    return get(o).index() > 0 ? "" : must_be(std::string("one of ").append(shown), "a number that means none");
  };
  return {names, shown, help, set, get, complaint};
}

/// What a text says as a truth value.
std::optional<bool> position_of_switch(const std::string& text);

template <class C>
Setting<C> on_off(const char* names, bool C::*member, const char* help) {
  const auto set = [member](C& o, const std::string& text) -> std::string {
    const std::optional<bool> on = position_of_switch(text);
    if (!on) return must_be("one of on|off", text);
    o.*member = *on;
    return "";
  };
  return {names,
          "on|off",
          help,
          set,
          [member](const C& o) -> SettingValue { return o.*member; },
          [](const C&) { return std::string(); }};
}

/// A switch that is on where it is named without a value.
template <class C>
Setting<C> flag(const char* names, bool C::*member, const char* help) {
  Setting<C> made = on_off(names, member, help);
  made.type = "";
  return made;
}

/// Not empty where it is given.
template <class C>
Setting<C> text(const char* names, std::string C::*member, const char* type, const char* help) {
  const auto set = [member](C& o, const std::string& value) -> std::string {
    if (value.empty()) return "must not be empty";
    o.*member = value;
    return "";
  };
  return {names,
          type,
          help,
          set,
          [member](const C& o) -> SettingValue { return o.*member; },
          [](const C&) { return std::string(); }};
}

template <class C>
Setting<C> recorded(Setting<C> setting) {
  setting.recorded = Recorded::yes;
  return setting;
}
template <class C>
Setting<C> fingerprint(Setting<C> setting) {
  setting.recorded = Recorded::fingerprint;
  return setting;
}

}  // namespace setting

template <class Options>
std::string Setting<Options>::key() const {
  std::string key = name();
  for (char& c : key)
    if (c == '-') c = '_';
  return key;
}

}  // namespace crisp
