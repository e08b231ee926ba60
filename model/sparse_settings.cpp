#include "model/sparse_settings.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/input/parse_text.h"
#include "model/methods/method.h"

namespace crisp {
namespace {

using namespace setting;
using O = SparsityOptions;

// A text that is checked when a model's layers are known, but for its form.
Setting<O> unread(const char* name, const char* type, std::string O::*member,
                  std::string (*complaint)(const std::string&), const char* help) {
  const auto set = [member, complaint](O& o, const std::string& text) {
    std::string wrong = complaint(text);
    if (wrong.empty()) o.*member = text;
    return wrong;
  };
  return {name,
          type,
          help,
          set,
          [member](const O& o) -> SettingValue { return o.*member; },
          [member, complaint](const O& o) { return complaint(o.*member); }};
}

Setting<O> sparsity_setting() {
  Setting<O> made = unread("sparsity", "S|S1,S2,..|PRESET", &O::sparsity, sparsity_complaint,
                           "Part of the keys to remove, S < 1; dense, uniform, light, aggressive");
  made.set = [set = made.set](O& o, const std::string& text) {
    std::string wrong = set(o, text);
    if (wrong.empty()) o.dense = text == "dense";
    return wrong;
  };
  return made;
}

Setting<O> method_setting() {
  static const std::string words = [] {
    std::string all;
    for (const Method* method : all_methods()) all.append(all.empty() ? "" : "|").append(method->word);
    return all;
  }();
  Setting<O> made = word("sparse-method", &O::method, method_words(), words.c_str(), "");
  made.type = "METHOD";
  made.help = "Which keys are kept, or another normaliser: " + words;
  return made;
}

Setting<O> keep_setting() {
  const auto set = [](O& o, const std::string& text) -> std::string {
    std::vector<std::string> parts = split(text, ',');
    if (text == "none") parts.clear();
    for (const std::string& part : parts)
      if (part != "cls" && part != "sep" && part != "diagonal")
        return must_be("some of cls,sep,diagonal, or none", text);
    const auto has = [&](const char* word) { return std::find(parts.begin(), parts.end(), word) != parts.end(); };
    o.keep_first = has("cls"), o.keep_last = has("sep"), o.keep_diagonal = has("diagonal");
    return "";
  };
  const auto get = [](const O& o) -> SettingValue {
    std::vector<std::string> parts;
    if (o.keep_first) parts.push_back("cls");
    if (o.keep_last) parts.push_back("sep");
    if (o.keep_diagonal) parts.push_back("diagonal");
    if (parts.empty()) return std::string("none");
    return parts;
  };
  return {
      "keep", "cls,sep,diagonal", "Keys to keep first: [CLS], [SEP], a query's own position", set, get, [](const O&) {
        return std::string();
      }};
}

}  // namespace

const Settings<O>& sparse_settings() {
  constexpr Interval part{.low = 0, .high = 1}, part_below_1{.low = 0, .high = 1, .open_high = true};
  static const Settings<O> all = [&] {
    Settings<O> s{sparsity_setting(),
                  method_setting(),
                  unread("sparse-layers", "LAYERS", &O::sparse_layers, sparse_layers_complaint,
                         "all, early (first half), late (last half), or numbers from 0: 3,4,5"),
                  flag("sparsity-reverse", &O::reverse, "Turn the sparsity's schedule over layers round"),
                  number("sparsity-ramp", &O::ramp, part,
                         "Part of the steps in which the sparsity rises from 0; 0: full from the start"),
                  on_off("sparse-train", &O::in_training, "Sparse attention in training"),
                  on_off("sparse-eval", &O::at_evaluation, "Sparse attention at evaluation, too"),
                  keep_setting(),
                  number("drop-key", &O::drop_key, part_below_1,
                         "DropKey: in training, remove each kept key with this probability"),
                  number("drop-attention", &O::drop_attention, part_below_1,
                         "DropAttention, renormalised: the same, or by columns"),
                  word("drop-attention-unit", &O::drop_columns, {{"entry", false}, {"column", true}}, "entry|column",
                       "What DropAttention removes")};
    for (const Method* method : all_methods()) {
      for (MethodOption option : method->options()) {
        option.help = fmt::format("{}: {}", method->word, option.help);
        option.get = [option](const MethodNumbers& o) { return option.given(o) ? option.get(o) : option.unset; };
        s.emplace_back(option);
      }
    }
    return s;
  }();
  return all;
}

}  // namespace crisp
