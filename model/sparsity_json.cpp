#include "model/sparsity_json.h"

#include <limits>

#include "data/input/json.h"
#include "data/input/text.h"
#include "engine/fail.h"

namespace crisp {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// The ranges of tools/sparse_options.cpp lie within these: what a run was given can be read back.
constexpr Interval any_number{.low = -std::numeric_limits<double>::infinity()}, any_part{.high = 1},
    part_below_1{.high = 1, .open_high = true}, any_length{.high = positions_limit};

using Fields = JsonFields<json>;

// A position, or a count of positions.
int64_t position(const Fields& f, const char* key, const json& value) { return f.whole(key, value, 0, INT32_MAX); }

// Sets the variable where there is such a field.
template <class V, class T>
void set(V& variable, const std::optional<T>& field) {
  if (field) variable = *field;
}

void read_method(const Fields& f, SparsityConfig& c, const std::string& where) {
  std::string scope = "row";
  set(scope, f.text("sparsity_scope"));
  if (scope != "row" && scope != "head")
    fail<BadInput>("{}: \"sparsity_scope\" is {}; it must be row or head", where, quote(scope));
  std::string word = scope == "row" ? "top-k" : "percentile";
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

void read_bigbird(const Fields& f, SparsityConfig& c, const std::string& where) {
  const json* list = f.list("bigbird");
  if (!list) return;
  if (list->size() != 3) fail<BadInput>("{}: \"bigbird\" must list 3 numbers: nearest, random, global", where);
  c.bigbird = BigBird{position(f, "bigbird", list->at(0)), position(f, "bigbird", list->at(1)),
                      position(f, "bigbird", list->at(2))};
  if (c.bigbird->nearest + c.bigbird->global < 1)
    fail<BadInput>("{}: \"bigbird\" has neither nearest nor global keys", where);
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
  set(c.threshold, f.real("attention_threshold", any_number));
  set(c.window, f.whole("window", 0, INT32_MAX));
  set(c.lexical_threshold, f.real("lexical_threshold", {.low = -1, .high = 1}));
  set(c.tree_distance, f.whole("tree_distance", 0, INT32_MAX));
  read_bigbird(f, c, where);
  if (const json* seed = f.find("mask_seed")) {
    if (!seed->is_number_unsigned()) f.refuse("mask_seed", *seed, "a whole number from 0");
    c.seed = seed->get<uint64_t>();
  }
  set(c.attention_drop, f.real("attention_drop", any_part));
  set(c.key_dropout, f.real("drop_attention", part_below_1));
  std::string unit = "entry";
  set(unit, f.text("drop_attention_unit"));
  if (unit != "entry" && unit != "column")
    fail<BadInput>("{}: \"drop_attention_unit\" is {}; it must be entry or column", where, quote(unit));
  c.key_dropout_columns = unit == "column";
  set(c.span_ramp, f.real("span_ramp", {.low = least_span_ramp, .high = positions_limit}));
  set(c.span_init, f.real("span_init", any_length));
  set(c.span_penalty, f.real("span_penalty", {.low = 0}));
  set(c.span_learning_rate, f.real("span_learning_rate", {.low = 0, .open_low = true}));
  read_spans(f, c, layers, heads, where);
  const bool measured =
      c.method == SparseMethod::threshold ? c.threshold.has_value() : c.method != SparseMethod::bigbird || c.bigbird;
  if (!measured) fail<BadInput>("{}: the measure of \"sparse_method\" {} is missing", where, method_name(c.method));
  if (c.layers.empty() && c.by_measure()) c.layers.assign(static_cast<size_t>(layers), 0.0);
  const bool by_default =
      c.requested == "dense" && (c.method == SparseMethod::top_k || c.method == SparseMethod::percentile);
  if (c.layers.empty() && !by_default)
    fail<BadInput>("{}: \"layer_sparsity\" is missing: {} by {} needs a number for each layer", where,
                   quote(c.requested), method_name(c.method));
  return c;
}

}  // namespace crisp
