#include "model/sparsity_json.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/error.h"

namespace crisp {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// Ends of ranges. Those of tools/sparse_options.cpp lie within: what a run was given can be read back.
constexpr double largest = std::numeric_limits<double>::max();
constexpr double above_0 = std::numeric_limits<double>::denorm_min();
const double below_1 = std::nextafter(1.0, 0.0);

// Reads keys of the object with types checked; null counts as missing.
class Reader {
 public:
  Reader(const json& object, const std::string& where) : object_(object), where_(where) {}

  /// Null where there is none.
  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  void flag(const char* key, bool& variable) const {
    const json* value = find(key);
    if (!value) return;
    if (!value->is_boolean()) fail<BadInput>("{}: \"{}\" must be true or false", where_, key);
    variable = value->get<bool>();
  }
  void text(const char* key, std::string& variable) const {
    const json* value = find(key);
    if (!value) return;
    if (!value->is_string()) fail<BadInput>("{}: \"{}\" must be a string", where_, key);
    variable = value->get<std::string>();
  }
  /// From `low` to `high`.
  void real(const char* key, double& variable, double low, double high) const {
    const json* value = find(key);
    if (!value) return;
    const double x = value->is_number() ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
    if (!(x >= low && x <= high))
      fail<BadInput>("{}: \"{}\" is {}; it must be a number from {} to {}", where_, key, value->dump(), low, high);
    variable = x;
  }
  void real(const char* key, std::optional<double>& variable, double low, double high) const {
    double x = 0;
    real(key, x, low, high);
    if (find(key)) variable = x;
  }
  int64_t whole(const char* key, const json& value) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() >= uint64_t{1} << 31)
      fail<BadInput>("{}: \"{}\" holds {}; it must be a whole number below 2^31", where_, key, value.dump());
    return value.get<int64_t>();
  }
  void whole(const char* key, std::optional<int64_t>& variable) const {
    if (const json* value = find(key)) variable = whole(key, *value);
  }
  /// Null where there is none.
  const json* list(const char* key) const {
    const json* value = find(key);
    if (value && !value->is_array()) fail<BadInput>("{}: \"{}\" must be a list", where_, key);
    return value;
  }

 private:
  const json& object_;
  const std::string& where_;
};

void read_method(const Reader& r, SparsityConfig& c, const std::string& where) {
  std::string scope = "row";
  r.text("sparsity_scope", scope);
  if (scope != "row" && scope != "head")
    fail<BadInput>("{}: \"sparsity_scope\" is \"{}\"; it must be row or head", where, scope);
  std::string word = scope == "row" ? "top-k" : "percentile";
  r.text("sparse_method", word);
  const std::optional<SparseMethod> method = parse_method(word);
  if (!method) fail<BadInput>("{}: \"sparse_method\" is \"{}\", which this program does not know", where, word);
  c.method = *method;
}

void read_layers(const Reader& r, SparsityConfig& c, int64_t layers, const std::string& where) {
  const auto n = static_cast<size_t>(layers);
  if (const json* list = r.list("layer_sparsity")) {
    if (list->size() != n)
      fail<BadInput>("{}: \"layer_sparsity\" must list {} numbers, one for each layer", where, layers);
    for (const json& value : *list) {
      const double s = value.is_number() ? value.get<double>() : -1;
      if (!(s >= 0 && s < 1)) fail<BadInput>("{}: \"layer_sparsity\" holds {}, outside [0, 1)", where, value.dump());
      c.layers.push_back(s);
    }
  }
  const json* active = r.list("sparse_layers");
  if (!active) return;
  c.active.assign(n, false);
  for (const json& value : *active) {
    const int64_t layer = r.whole("sparse_layers", value);
    if (layer >= layers)
      fail<BadInput>("{}: \"sparse_layers\" holds {}, but there are {} layers", where, layer, layers);
    c.active[static_cast<size_t>(layer)] = true;
  }
}

void read_protected(const Reader& r, SparsityConfig& c, const std::string& where) {
  const json* list = r.list("keep");
  if (!list) return;
  for (const json& value : *list) {
    if (value != "cls" && value != "sep" && value != "diagonal")
      fail<BadInput>("{}: \"keep\" holds {}; cls, sep and diagonal are known", where, value.dump());
    (value == "cls" ? c.keep_first : value == "sep" ? c.keep_last : c.keep_diagonal) = true;
  }
}

void read_bigbird(const Reader& r, SparsityConfig& c, const std::string& where) {
  const json* list = r.list("bigbird");
  if (!list) return;
  if (list->size() != 3) fail<BadInput>("{}: \"bigbird\" must list 3 numbers: nearest, random, global", where);
  c.bigbird =
      BigBird{r.whole("bigbird", list->at(0)), r.whole("bigbird", list->at(1)), r.whole("bigbird", list->at(2))};
  if (c.bigbird->nearest + c.bigbird->global < 1)
    fail<BadInput>("{}: \"bigbird\" has neither nearest nor global keys", where);
}

void read_spans(const Reader& r, SparsityConfig& c, int64_t layers, int64_t heads, const std::string& where) {
  const json* list = r.list("spans");
  if (!list) return;
  if (list->size() != static_cast<size_t>(layers))
    fail<BadInput>("{}: \"spans\" must have {} lists, one for each layer", where, layers);
  for (int64_t l = 0; l < layers; ++l) {
    const json& of_layer = list->at(static_cast<size_t>(l));
    const int64_t wanted = c.has_spans(l) ? heads : 0;
    if (!of_layer.is_array() || of_layer.size() != static_cast<size_t>(wanted))
      fail<BadInput>("{}: \"spans\" of layer {} must list {} numbers", where, l, wanted);
    auto& spans = c.spans.emplace_back();
    for (const json& value : of_layer) {
      const double z = value.is_number() ? value.get<double>() : -1;
      if (!(z >= 0 && z <= positions_limit)) fail<BadInput>("{}: \"spans\" holds {}, no length", where, value.dump());
      spans.push_back(z);
    }
  }
}

template <class T>
ordered_json or_null(const std::optional<T>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

}  // namespace

ordered_json sparsity_json(const SparsityConfig& c) {
  const auto only = [](bool used, const ordered_json& value) { return used ? value : ordered_json(); };
  ordered_json active = ordered_json::array(), keep = ordered_json::array();
  for (int64_t l = 0; l < static_cast<int64_t>(c.layers.size()); ++l)
    if (c.is_active(l)) active.push_back(l);
  if (c.keep_first) keep.push_back("cls");
  if (c.keep_last) keep.push_back("sep");
  if (c.keep_diagonal) keep.push_back("diagonal");
  const BigBird b = c.bigbird.value_or(BigBird{});
  const bool spans = c.method == SparseMethod::learned_span;
  const bool random = c.method == SparseMethod::random_k || c.method == SparseMethod::bigbird;
  return {{"sparsity", c.requested},
          {"layer_sparsity", c.layers},
          {"sparse_method", method_name(c.method)},
          {"sparse_layers", only(active.size() < c.layers.size(), active)},
          {"sparsity_reverse", only(c.reversed, true)},
          {"sparse_train", c.in_training},
          {"sparse_eval", c.at_evaluation},
          {"sparsity_ramp", only(c.ramp > 0, c.ramp)},
          {"keep", only(!keep.empty(), keep)},
          {"attention_threshold", or_null(c.threshold)},
          {"window", or_null(c.window)},
          {"lexical_threshold", or_null(c.lexical_threshold)},
          {"tree_distance", or_null(c.tree_distance)},
          {"bigbird", only(c.bigbird.has_value(), {b.nearest, b.random, b.global})},
          {"mask_seed", only(random, c.seed)},
          {"attention_drop", only(c.method == SparseMethod::attention_drop, c.attention_drop)},
          {"drop_attention", only(c.key_dropout > 0, c.key_dropout)},
          {"drop_attention_unit", only(c.key_dropout > 0, c.key_dropout_columns ? "column" : "entry")},
          {"span_ramp", only(spans, c.span_ramp)},
          {"span_init", only(spans, c.span_init)},
          {"span_penalty", only(spans, c.span_penalty)},
          {"span_learning_rate", only(spans, c.span_learning_rate)},
          {"spans", only(!c.spans.empty(), c.spans)}};
}

SparsityConfig parse_sparsity_json(const json& object, int64_t layers, int64_t heads, const std::string& where) {
  const Reader r(object, where);
  SparsityConfig c;
  r.text("sparsity", c.requested);
  read_method(r, c, where);
  read_layers(r, c, layers, where);
  r.flag("sparsity_reverse", c.reversed);
  r.flag("sparse_train", c.in_training);
  r.flag("sparse_eval", c.at_evaluation);
  r.real("sparsity_ramp", c.ramp, 0, 1);
  read_protected(r, c, where);
  r.real("attention_threshold", c.threshold, -largest, largest);
  r.whole("window", c.window);
  r.real("lexical_threshold", c.lexical_threshold, -1, 1);
  r.whole("tree_distance", c.tree_distance);
  read_bigbird(r, c, where);
  if (const json* seed = r.find("mask_seed")) {
    if (!seed->is_number_unsigned()) fail<BadInput>("{}: \"mask_seed\" must be a whole number", where);
    c.seed = seed->get<uint64_t>();
  }
  r.real("attention_drop", c.attention_drop, 0, 1);
  r.real("drop_attention", c.key_dropout, 0, below_1);
  std::string unit = "entry";
  r.text("drop_attention_unit", unit);
  if (unit != "entry" && unit != "column")
    fail<BadInput>("{}: \"drop_attention_unit\" is \"{}\"; it must be entry or column", where, unit);
  c.key_dropout_columns = unit == "column";
  r.real("span_ramp", c.span_ramp, least_span_ramp, positions_limit);
  r.real("span_init", c.span_init, 0, positions_limit);
  r.real("span_penalty", c.span_penalty, 0, largest);
  r.real("span_learning_rate", c.span_learning_rate, above_0, largest);
  read_spans(r, c, layers, heads, where);
  const bool measured =
      c.method == SparseMethod::threshold ? c.threshold.has_value() : c.method != SparseMethod::bigbird || c.bigbird;
  if (!measured) fail<BadInput>("{}: the measure of \"sparse_method\" {} is missing", where, method_name(c.method));
  if (c.layers.empty() && c.by_measure()) c.layers.assign(static_cast<size_t>(layers), 0.0);
  const bool by_default =
      c.requested == "dense" && (c.method == SparseMethod::top_k || c.method == SparseMethod::percentile);
  if (c.layers.empty() && !by_default)
    fail<BadInput>("{}: \"layer_sparsity\" is missing: {} by {} needs a number for each layer", where, c.requested,
                   method_name(c.method));
  return c;
}

}  // namespace crisp
