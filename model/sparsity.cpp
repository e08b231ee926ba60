#include "model/sparsity.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "data/input/parse_text.h"
#include "engine/fail.h"
#include "model/methods/method.h"

namespace crisp {
namespace {

std::vector<double> linear_from(double first, double last, int64_t layers) {
  std::vector<double> values;
  for (int64_t l = 0; l < layers; ++l) {
    const double depth = layers == 1 ? 0.5 : static_cast<double>(l) / static_cast<double>(layers - 1);
    values.push_back(first + (last - first) * depth);
  }
  return values;
}

// A schedule over layers by name.
struct Preset {
  const char* name;
  double first, last;  // sparsity of the first and the last layer, linear between them
};
constexpr Preset presets[] = {
    {"dense", 0, 0}, {"uniform", 0.7, 0.7}, {"light", 0.45, 0.75}, {"aggressive", 0.65, 0.95}};

const Preset* find_preset(const std::string& name) {
  const auto found =
      std::find_if(std::begin(presets), std::end(presets), [&](const Preset& p) { return p.name == name; });
  return found == std::end(presets) ? nullptr : found;
}

}  // namespace

std::vector<std::pair<std::string, SparseMethod>> scope_words() {
  return {{"row", SparseMethod::top_k}, {"head", SparseMethod::percentile}};
}

bool SparseSettings::by_measure() const {
  const std::vector<MethodOption>& options = about(method).options();
  return !about(method).by_sparsity || std::any_of(options.begin(), options.end(), [&](const MethodOption& option) {
    return option.is_measure && option.given(*this);
  });
}

bool SparsityOptions::all_dense() const {
  return (dense || (sparsity == "dense" && !by_measure())) && drop_key == 0 && drop_attention == 0;
}

bool SparsityConfig::dense() const {
  for (int64_t l = 0; l < std::ssize(layers); ++l)
    if (key_dropout > 0 && is_active(l)) return false;
  return !applies_somewhere(true) && !applies_somewhere(false);
}

double SparsityConfig::mean() const {
  double sum = 0;
  for (const double s : layers) sum += s;
  return layers.empty() ? 0 : sum / static_cast<double>(layers.size());
}

double SparsityConfig::sparsity(int64_t layer, bool training, double progress) const {
  if (static_cast<size_t>(layer) >= layers.size()) return 0;
  const double full = layers[static_cast<size_t>(layer)];
  return training && progress < ramp ? full * progress / ramp : full;
}

bool SparsityConfig::applies(int64_t layer, bool training, double progress) const {
  if (static_cast<size_t>(layer) >= layers.size() || !is_active(layer)) return false;
  if (!(training ? in_training : at_evaluation && about(method).at_evaluation)) return false;
  return by_measure() || sparsity(layer, training, progress) > 0;
}

bool SparsityConfig::applies_somewhere(bool training, double progress) const {
  for (int64_t l = 0; l < std::ssize(layers); ++l)
    if (applies(l, training, progress)) return true;
  return false;
}

bool SparsityConfig::needs_parses(bool training) const {
  return about(method).needs_parses && applies_somewhere(training);
}

bool SparsityConfig::has_spans(int64_t layer) const { return about(method).learns_spans && is_active(layer); }

void SparsityConfig::set_defaults() {
  for (const MethodOption& option : about(method).options())
    if (!option.given(*this)) option.set(*this, show_value(option.unset));
}

double SparsityConfig::requested_at_evaluation(int64_t layer) const {
  if (!applies(layer, false)) return 0;
  return by_measure() ? std::numeric_limits<double>::quiet_NaN() : sparsity(layer);
}

std::string SparsityConfig::describe() const {
  if (dense()) return "dense";
  const bool sparse = applies_somewhere(true) || applies_somewhere(false);  // by the method, that is
  std::vector<int64_t> where;
  for (int64_t l = 0; l < std::ssize(layers); ++l)
    if (is_active(l)) where.push_back(l);
  const Method& of = about(method);
  std::string text = !sparse         ? "dense"
                     : !by_measure() ? fmt::format("{} by {}", requested, of.word)
                     : of.measure    ? fmt::format("{}: {}", of.word, of.measure(*this))
                                     : of.word;
  if (sparse && reversed) text += ", reversed";
  if (key_dropout > 0)
    text += fmt::format(", key dropout {:g} by {}", key_dropout, key_dropout_columns ? "columns" : "entries");
  if (where.size() < layers.size())
    text += fmt::format(", in layer{} {}", where.size() == 1 ? "" : "s", fmt::join(where, ","));
  if (sparse && ramp > 0) text += fmt::format(", rising over {:g} % of the steps", 100 * ramp);
  if (sparse && !in_training) text += ", dense training";
  if (sparse && !at_evaluation) text += ", dense evaluation";
  return text;
}

std::string sparsity_complaint(const std::string& text) {
  if (find_preset(text)) return "";
  for (const std::string& part : split(text, ',')) {
    const std::optional<double> s = parse_number<double>(part);
    if (s && *s >= 0 && *s < 1) continue;
    std::vector<std::string> names;
    for (const Preset& preset : presets) names.push_back(preset.name);
    return fmt::format("must be numbers from 0 to below 1 (0.8, or one per layer: 0.5,0.6,..) or {}, not '{}'",
                       fmt::join(names, ", "), text);
  }
  return "";
}

SparsityConfig parse_sparsity(const std::string& text, int64_t layers) {
  if (const std::string complaint = sparsity_complaint(text); !complaint.empty())
    fail<UsageError>("--sparsity {}", complaint);
  SparsityConfig config;
  config.requested = text;
  if (const Preset* preset = find_preset(text)) {
    config.layers = linear_from(preset->first, preset->last, layers);
    return config;
  }
  const auto n = static_cast<size_t>(layers);
  for (const std::string& part : split(text, ',')) config.layers.push_back(*parse_number<double>(part));
  if (config.layers.size() == 1) config.layers = std::vector<double>(n, config.layers[0]);
  if (config.layers.size() != n)
    fail<UsageError>("--sparsity {}: {} numbers for a model of {} layers; give one, or one for each layer", text,
                     config.layers.size(), layers);
  return config;
}

std::string sparse_layers_complaint(const std::string& text) {
  if (text == "all" || text == "early" || text == "late") return "";
  for (const std::string& part : split(text, ',')) {
    const std::optional<int64_t> layer = parse_number<int64_t>(part);
    if (!layer || *layer < 0)
      return fmt::format("must be all, early, late, or layers' numbers from 0 with commas, not '{}'", text);
  }
  return "";
}

std::vector<bool> parse_layers(const std::string& text, int64_t layers) {
  if (const std::string complaint = sparse_layers_complaint(text); !complaint.empty())
    fail<UsageError>("--sparse-layers {}", complaint);
  std::vector<bool> active(static_cast<size_t>(layers), text == "all");
  const int64_t half = std::max<int64_t>(1, layers / 2);
  for (int64_t l = 0; l < layers; ++l)
    if ((text == "early" && l < half) || (text == "late" && l >= layers - half)) active[static_cast<size_t>(l)] = true;
  if (text == "all" || text == "early" || text == "late") return active;
  for (const std::string& part : split(text, ',')) {
    const int64_t layer = *parse_number<int64_t>(part);
    if (layer >= layers)
      fail<UsageError>("--sparse-layers {}: there is no layer {}; they are numbered from 0 to {}", text, layer,
                       layers - 1);
    active[static_cast<size_t>(layer)] = true;
  }
  return active;
}

std::optional<SparsityConflict> find_sparsity_conflict(const SparsityOptions& o) {
  const Method& of = about(o.method);
  std::string needed = "--sparsity S", by = "sparse-method";  // `by`: what makes it go by a measure
  for (const Method* any : all_methods()) {
    for (const MethodOption& option : any->options()) {
      const std::string name = option.name();
      const bool given = option.given(o);
      if (given && any != &of)
        return SparsityConflict{fmt::format("--{} belongs to --sparse-method {}, not {}", name, any->word, of.word),
                                {name}};
      if (any != &of || !option.is_measure) continue;
      if (!of.by_sparsity && !given && !o.dense)
        return SparsityConflict{fmt::format("--sparse-method {} needs --{}", of.word, name), {"sparse-method"}};
      if (given && of.by_sparsity) by = name;
      needed += fmt::format(" or --{}", name);
    }
  }
  const bool no_sparsity = o.dense || o.sparsity == "dense", by_measure = o.by_measure() && !o.dense;
  const bool other_normaliser = of.normaliser != Normaliser::softmax;
  const bool keep = o.keep_first || o.keep_last || o.keep_diagonal, drop = o.drop_key > 0 || o.drop_attention > 0;
  const bool forgotten = no_sparsity && !by_measure && !o.dense;  // the sparsity, most likely
  const std::string method = fmt::format("--sparse-method {}", of.word);
  const auto other_measure = [&](const char* option) -> SparsityConflict {
    return {fmt::format("--{} has no meaning where {} takes another measure", option, method), {option, by}};
  };
  const auto not_sparse = [](const char* option) -> SparsityConflict {
    return {fmt::format("--{} needs something sparse: --sparsity S, or a --sparse-method with a measure of its own",
                        option),
            {option}};
  };
  const std::pair<bool, SparsityConflict> conflicts[] = {
      {by_measure && !no_sparsity, other_measure("sparsity")},
      {by_measure && o.ramp > 0, other_measure("sparsity-ramp")},
      {by_measure && o.reverse, other_measure("sparsity-reverse")},
      {forgotten && o.method != SparsityOptions().method,
       {fmt::format("{} needs {}", method, needed), {"sparse-method"}}},
      {o.drop_key > 0 && o.drop_attention > 0,
       {"--drop-key and --drop-attention are two names of one thing here; give one of them",
        {"drop-key", "drop-attention"}}},
      {o.drop_columns && o.drop_attention == 0,
       {"--drop-attention-unit column needs --drop-attention P", {"drop-attention-unit"}}},
      {!o.in_training && of.needs_training() && !o.dense,
       {"--sparse-train off leaves nothing of " + method, {"sparse-train", "sparse-method"}}},
      {!o.in_training && !o.at_evaluation && (!no_sparsity || by_measure),
       {"--sparse-train off and --sparse-eval off leave nothing of " +
            (no_sparsity ? method : "--sparsity " + o.sparsity),
        {"sparse-eval", "sparse-train", no_sparsity ? "sparse-method" : "sparsity"}}},
      {!o.in_training && o.ramp > 0,
       {"--sparsity-ramp has no meaning with --sparse-train off", {"sparsity-ramp", "sparse-train"}}},
      {o.drop_attention > 0 && other_normaliser && !o.dense,
       {fmt::format("--drop-attention is what --drop-key does with softmax only; with {} give --drop-key", method),
        {"drop-attention", "sparse-method"}}},
      {forgotten && o.sparse_layers != "all" && !drop, not_sparse("sparse-layers")},
      {forgotten && o.reverse, not_sparse("sparsity-reverse")},
      {forgotten && o.ramp > 0, not_sparse("sparsity-ramp")},
      {forgotten && keep && !drop, not_sparse("keep")},
      {forgotten && !o.in_training, not_sparse("sparse-train")},
      {forgotten && !o.at_evaluation, not_sparse("sparse-eval")},
      {keep && !drop && !of.takes_protected && !o.dense,
       {"--keep has no meaning for " + method, {"keep", "sparse-method"}}}};
  for (const auto& [found, conflict] : conflicts)
    if (found) return conflict;
  return std::nullopt;
}

void check_sparsity_options(const SparsityOptions& options) {
  if (const auto conflict = find_sparsity_conflict(options)) fail<UsageError>("{}", conflict->message);
}

SparsityConfig make_sparsity(const SparsityOptions& options, int64_t layers, uint64_t seed) {
  check_sparsity_options(options);
  SparsityConfig config = parse_sparsity(options.dense ? "dense" : options.sparsity, layers);
  static_cast<SparseSettings&>(config) = options;
  if (options.dense) {
    config.method = SparsityOptions().method;
    static_cast<MethodNumbers&>(config) = {};
  }
  config.reversed = options.reverse;
  config.set_defaults();
  config.key_dropout = std::max(options.drop_key, options.drop_attention);
  config.key_dropout_columns = options.drop_columns;
  config.seed = seed;
  if (options.reverse) std::reverse(config.layers.begin(), config.layers.end());
  config.active = parse_layers(options.sparse_layers, layers);
  const bool sparse = config.mean() > 0;
  for (size_t l = 0; l < config.layers.size(); ++l)
    if (!config.active[l]) config.layers[l] = 0;
  if (sparse && config.mean() == 0)
    fail<UsageError>("--sparsity {}{} is 0 in all of --sparse-layers {}: nothing would be sparse", options.sparsity,
                     options.reverse ? ", reversed," : "", options.sparse_layers);
  return config;
}

}  // namespace crisp
