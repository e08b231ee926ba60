#include "model/sparsity_json.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "data/input/json.h"
#include "data/input/json_writer.h"
#include "data/input/text.h"
#include "engine/fail.h"
#include "model/methods/method.h"

namespace crisp {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr Interval any_part{.high = 1}, part_below_1{.high = 1, .open_high = true}, any_length{.high = positions_limit};

using Fields = JsonFields<json>;

// A position, or a count of positions.
int64_t position(const Fields& f, const char* key, const json& value) { return f.whole(key, value, 0, INT32_MAX); }

// Sets the variable where there is such a field.
template <class V, class T>
void set(V& variable, const std::optional<T>& field) {
  if (field) variable = *field;
}

void read_method(const Fields& f, SparsityConfig& c, const std::string& where) {
  std::string scope = "row", word;
  set(scope, f.text("sparsity_scope"));
  for (const auto& [older, method] : scope_words())
    if (older == scope) word = method_name(method);
  if (word.empty()) fail<BadInput>("{}: \"sparsity_scope\" is {}; it must be row or head", where, quote(scope));
  set(word, f.text("sparse_method"));
  const std::optional<SparseMethod> method = parse_method(word);
  if (!method) fail<BadInput>("{}: \"sparse_method\" is {}, which this program does not know", where, quote(word));
  c.method = *method;
}

void read_layers(const Fields& f, SparsityConfig& c, int64_t layers, const std::string& where) {
  const auto n = static_cast<size_t>(layers);
  if (const json* list = f.list("layer_sparsity")) {
    if (list->size() != n)
      fail<BadInput>("{}: \"layer_sparsity\" must list {} numbers, one for each layer", where, layers);
    for (const json& value : *list) c.layers.push_back(f.real("layer_sparsity", value, part_below_1));
  }
  const json* active = f.list("sparse_layers");
  if (!active) return;
  c.active.assign(n, false);
  for (const json& value : *active) {
    const int64_t layer = position(f, "sparse_layers", value);
    if (layer >= layers)
      fail<BadInput>("{}: \"sparse_layers\" holds {}, but there are {} layers", where, layer, layers);
    c.active[static_cast<size_t>(layer)] = true;
  }
}

void read_protected(const Fields& f, SparsityConfig& c, const std::string& where) {
  const json* list = f.list("keep");
  if (!list) return;
  for (const json& value : *list) {
    if (value != "cls" && value != "sep" && value != "diagonal")
      fail<BadInput>("{}: \"keep\" holds {}; cls, sep and diagonal are known", where, show_json(value));
    (value == "cls" ? c.keep_first : value == "sep" ? c.keep_last : c.keep_diagonal) = true;
  }
}

// A number, or where that is the option's value a list of numbers.
void read_option(const Fields& f, SparsityConfig& c, const MethodOption& option) {
  const std::string key = option.key();
  const json* value = f.find(key.c_str());
  if (!value) return;
  std::string text = value->dump();
  if (value->is_array()) text = text.substr(1, text.size() - 2);
  const bool taken = option.set(c, text).empty();
  if (!taken || value->is_array() != std::holds_alternative<std::vector<int64_t>>(option.get(c)))
    f.refuse(key.c_str(), *value, option.range);
}

void read_spans(const Fields& f, SparsityConfig& c, int64_t layers, int64_t heads, const std::string& where) {
  const json* list = f.list("spans");
  if (!list) return;
  if (list->size() != static_cast<size_t>(layers))
    fail<BadInput>("{}: \"spans\" must have {} lists, one for each layer", where, layers);
  for (int64_t l = 0; l < layers; ++l) {
    const json& of_layer = list->at(static_cast<size_t>(l));
    const int64_t wanted = c.has_spans(l) ? heads : 0;
    if (!of_layer.is_array() || of_layer.size() != static_cast<size_t>(wanted))
      fail<BadInput>("{}: \"spans\" of layer {} must list {} numbers", where, l, wanted);
    auto& spans = c.spans.emplace_back();
    for (const json& value : of_layer) spans.push_back(f.real("spans", value, any_length));
  }
}

// put(key, value) for each setting in the order in which they are written; nullptr for what the method does not use.
template <class Put>
void put_each(const SparsityConfig& c, Put put) {
  const auto put_if = [&](bool used, const std::string& key, const auto& value) {
    if (used)
      put(key, value);
    else
      put(key, nullptr);
  };
  std::vector<int64_t> active;
  for (int64_t l = 0; l < static_cast<int64_t>(c.layers.size()); ++l)
    if (c.is_active(l)) active.push_back(l);
  std::vector<std::string> keep;
  if (c.keep_first) keep.emplace_back("cls");
  if (c.keep_last) keep.emplace_back("sep");
  if (c.keep_diagonal) keep.emplace_back("diagonal");
  put("sparsity", c.requested);
  put("layer_sparsity", c.layers);
  put("sparse_method", method_name(c.method));
  put_if(active.size() < c.layers.size(), "sparse_layers", active);
  put_if(c.reversed, "sparsity_reverse", true);
  put("sparse_train", c.in_training);
  put("sparse_eval", c.at_evaluation);
  put_if(c.ramp > 0, "sparsity_ramp", c.ramp);
  put_if(!keep.empty(), "keep", keep);
  put_if(about(c.method).by_seed, "mask_seed", c.seed);
  put_if(c.key_dropout > 0, "drop_attention", c.key_dropout);
  put_if(c.key_dropout > 0, "drop_attention_unit", std::string(c.key_dropout_columns ? "column" : "entry"));
  for (const Method* method : all_methods())
    for (const MethodOption& option : method->options()) {
      const auto put_value = [&]<class Value>(const Value& value) {
        if constexpr (std::is_same_v<Value, std::monostate>)
          put(option.key(), nullptr);
        else
          put_if(method == &about(c.method), option.key(), value);
      };
      std::visit(put_value, option.get(c));
    }
  put_if(!c.spans.empty(), "spans", c.spans);
}

}  // namespace

ordered_json sparsity_json(const SparsityConfig& c) {
  ordered_json object;
  put_each(c, [&](const std::string& key, const auto& value) { object[key] = value; });
  return object;
}

void write_sparsity(JsonWriter& to, const SparsityConfig& c) {
  put_each(c, [&](const std::string& key, const auto& value) {
    if constexpr (!std::is_same_v<decltype(value), const std::nullptr_t&>) to.field(key, value);
  });
}

SparsityConfig parse_sparsity_json(const json& object, int64_t layers, int64_t heads, const std::string& where) {
  const Fields f(object, where);
  SparsityConfig c;
  set(c.requested, f.text("sparsity"));
  read_method(f, c, where);
  read_layers(f, c, layers, where);
  set(c.reversed, f.flag("sparsity_reverse"));
  set(c.in_training, f.flag("sparse_train"));
  set(c.at_evaluation, f.flag("sparse_eval"));
  set(c.ramp, f.real("sparsity_ramp", any_part));
  read_protected(f, c, where);
  if (const json* seed = f.find("mask_seed")) {
    if (!seed->is_number_unsigned()) f.refuse("mask_seed", *seed, "a whole number from 0");
    c.seed = seed->get<uint64_t>();
  }
  set(c.key_dropout, f.real("drop_attention", part_below_1));
  std::string unit = "entry";
  set(unit, f.text("drop_attention_unit"));
  if (unit != "entry" && unit != "column")
    fail<BadInput>("{}: \"drop_attention_unit\" is {}; it must be entry or column", where, quote(unit));
  c.key_dropout_columns = unit == "column";
  for (const Method* method : all_methods())
    for (const MethodOption& option : method->options()) read_option(f, c, option);
  read_spans(f, c, layers, heads, where);
  const Method& method = about(c.method);
  for (const MethodOption& option : method.options())
    if (option.is_measure && !method.by_sparsity && !option.given(c))
      fail<BadInput>("{}: the measure of \"sparse_method\" {} is missing", where, method.word);
  c.set_defaults();
  if (c.layers.empty() && c.by_measure()) c.layers.assign(static_cast<size_t>(layers), 0.0);
  bool by_default = false;
  for (const auto& [older, scope] : scope_words()) by_default |= c.requested == "dense" && scope == c.method;
  if (c.layers.empty() && !by_default)
    fail<BadInput>("{}: \"layer_sparsity\" is missing: {} by {} needs a number for each layer", where,
                   quote(c.requested), method.word);
  return c;
}

}  // namespace crisp
