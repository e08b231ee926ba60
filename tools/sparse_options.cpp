#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cmath>
#include <string_view>

#include "data/input/parse_text.h"
#include "tools/options.h"
#include "train/inference/limits.h"

namespace crisp {
namespace {

std::string parse_bigbird(const std::string& text, std::optional<BigBird>& variable) {
  std::vector<int64_t> numbers;
  for (const std::string& part : split(text, ',')) {
    const std::optional<int64_t> n = parse_number<int64_t>(part);
    if (n && *n >= 0 && *n <= longest_sentence) numbers.push_back(*n);
  }
  if (numbers.size() != 3 || split(text, ',').size() != 3 || numbers[0] + numbers[2] == 0)
    return fmt::format("must be three whole numbers NEAREST,RANDOM,GLOBAL, the first or the last above 0, not '{}'",
                       text);
  variable = BigBird{numbers[0], numbers[1], numbers[2]};
  return "";
}

std::string parse_keep(const std::string& text, SparsityOptions& o) {
  o.keep_first = o.keep_last = o.keep_diagonal = false;
  if (text == "none") return "";
  for (const std::string& part : split(text, ',')) {
    if (part != "cls" && part != "sep" && part != "diagonal")
      return fmt::format("must be some of cls,sep,diagonal, or none, not '{}'", text);
    (part == "cls" ? o.keep_first : part == "sep" ? o.keep_last : o.keep_diagonal) = true;
  }
  return "";
}

}  // namespace

void add_sparse_options(CLI::App& app, SparsityOptions& o, const std::string& shown) {
  const auto add = [](CLI::Option* option) { option->group(sparse_group); };
  const auto parse_sparsity = [&o](const std::string& text) {
    const std::string complaint = sparsity_complaint(text);
    if (complaint.empty()) o.sparsity = text, o.dense = text == "dense";
    return complaint;
  };
  add(add_parsed(app, "sparsity", "S|S1,S2,..|PRESET", shown, parse_sparsity,
                 "Part of the keys to remove, S < 1; dense, uniform, light, aggressive"));
  std::string words;
  for (const auto& [word, method] : method_words()) words += (words.empty() ? "" : "|") + word;
  CLI::Option* method = add_choice<SparseMethod>(app, "sparse-method", o.method, method_words(), words,
                                                 "Which keys are kept, or another normaliser: " + words)
                            ->type_name("METHOD");
  add(method);
  CLI::Option* scope = add_choice<SparseMethod>(
      app, "sparsity-scope", o.method, {{"row", SparseMethod::top_k}, {"head", SparseMethod::percentile}}, "row|head",
      "row: --sparse-method top-k; head: --sparse-method percentile");
  scope->excludes(method);
  add(scope);
  add(add_parsed(
      app, "sparse-layers", "LAYERS", o.sparse_layers,
      [&o](const std::string& text) {
        const std::string complaint = sparse_layers_complaint(text);
        if (complaint.empty()) o.sparse_layers = text;
        return complaint;
      },
      "all, early (first half), late (last half), or numbers from 0: 3,4,5"));
  add(add_flag(app, "sparsity-reverse", o.reverse, "Turn the sparsity's schedule over layers round"));
  add(add_real(app, "sparsity-ramp", o.ramp, {.low = 0, .high = 1},
               "Part of the steps in which the sparsity rises from 0; 0: full from the start"));
  add(add_switch(app, "sparse-train", o.in_training, "Sparse attention in training"));
  add(add_switch(app, "sparse-eval", o.at_evaluation, "Sparse attention at evaluation, too"));
  add(add_parsed(
      app, "keep", "cls,sep,diagonal", "none", [&o](const std::string& text) { return parse_keep(text, o); },
      "Keys to keep first: [CLS], [SEP], a query's own position"));

  const auto measure = [&](const std::string& name, std::optional<int64_t>& variable, const char* description) {
    const auto parse = [&variable](const std::string& text) -> std::string {
      const std::optional<int64_t> n = parse_number<int64_t>(text);
      if (!n || *n < 0 || *n > longest_sentence)
        return fmt::format("must be a whole number from 0 to {}, not '{}'", longest_sentence, text);
      variable = n;
      return "";
    };
    add(add_parsed(app, name, "N", "", parse, description));
  };
  const auto number = [&](const std::string& name, std::optional<double>& variable, double low, double high,
                          const char* description) {
    const auto parse = [&variable, low, high](const std::string& text) -> std::string {
      const std::optional<double> x = parse_number<double>(text);
      if (!x || !(*x >= low && *x <= high))
        return fmt::format("must be a number from {:g} to {:g}, not '{}'", low, high, text);
      variable = x;
      return "";
    };
    add(add_parsed(app, name, "X", "", parse, description));
  };
  number("attention-threshold", o.threshold, -1e30, 1e30, "threshold: keep scores (scaled) from X on");
  measure("window", o.window, "neighbour: keep keys at most N away, instead of a --sparsity");
  number("lexical-threshold", o.lexical_threshold, -1, 1, "lexical: keep cosines from X on, instead of a --sparsity");
  measure("tree-distance", o.tree_distance, "syntax: keep keys at most N edges away, instead of a --sparsity");
  add(add_parsed(
      app, "bigbird", "N,R,G", "", [&o](const std::string& text) { return parse_bigbird(text, o.bigbird); },
      "bigbird: N nearest keys, R random ones, G global ones from [CLS] on"));
  const SparsityConfig defaults;
  add(add_real(app, "attention-drop", o.attention_drop, defaults.attention_drop, {.low = 0, .high = 1},
               "attention-drop: probability of removing one of the strongest scores"));
  add(add_real(app, "drop-key", o.drop_key, {.low = 0, .high = 1, .open_high = true},
               "DropKey: in training, remove each kept key with this probability"));
  add(add_real(app, "drop-attention", o.drop_attention, {.low = 0, .high = 1, .open_high = true},
               "DropAttention, renormalised: the same, or by columns"));
  add(add_choice<bool>(app, "drop-attention-unit", o.drop_columns, {{"entry", false}, {"column", true}}, "entry|column",
                       "What DropAttention removes"));
  add(add_real(app, "span-ramp", o.span_ramp, defaults.span_ramp, {.low = least_span_ramp, .high = longest_sentence},
               "learned-span: positions in which a window's edge falls to 0"));
  add(add_real(app, "span-init", o.span_init, defaults.span_init, {.low = 0, .high = longest_sentence},
               "learned-span: windows at the start, in positions"));
  add(add_real(app, "span-penalty", o.span_penalty, defaults.span_penalty, {},
               "learned-span: times the mean span is added to the loss"));
  add(add_real(app, "span-learning-rate", o.span_learning_rate, defaults.span_learning_rate,
               {.low = 0, .open_low = true}, "learned-span: peak learning rate of the windows, in positions"));
}

}  // namespace crisp
