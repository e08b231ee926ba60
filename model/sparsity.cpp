#include "model/sparsity.h"

#include <charconv>
#include <cmath>
#include <string_view>

#include "engine/error.h"

namespace crisp {
namespace {

std::vector<double> ramp(double first, double last, int64_t layers) {
  std::vector<double> values;
  for (int64_t l = 0; l < layers; ++l) {
    const double depth = layers == 1 ? 0.5 : static_cast<double>(l) / static_cast<double>(layers - 1);
    values.push_back(first + (last - first) * depth);
  }
  return values;
}

double parse_one(std::string_view text, const std::string& whole) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    fail<UsageError>("--sparsity {}: \"{}\" is neither a number nor one of dense, uniform, light, aggressive", whole,
                     text);
  if (!(value >= 0 && value < 1)) fail<UsageError>("--sparsity {}: {} is outside [0, 1)", whole, text);
  return value;
}

}  // namespace

bool SparsityConfig::dense() const {
  for (const double s : layers)
    if (s > 0) return false;
  return true;
}

double SparsityConfig::mean() const {
  double sum = 0;
  for (const double s : layers) sum += s;
  return layers.empty() ? 0 : sum / static_cast<double>(layers.size());
}

double SparsityConfig::sparsity(int64_t layer) const {
  return static_cast<size_t>(layer) < layers.size() ? layers[static_cast<size_t>(layer)] : 0;
}

Selection SparsityConfig::selection(int64_t layer, bool training) const {
  return sparsity(layer) > 0 && (training || at_evaluation) ? scope : Selection::all;
}

SparsityConfig parse_sparsity(const std::string& text, int64_t layers) {
  SparsityConfig config;
  config.requested = text;
  const auto n = static_cast<size_t>(layers);
  if (text == "dense") {
    config.layers.assign(n, 0.0);
  } else if (text == "uniform") {
    config.layers.assign(n, 0.7);
  } else if (text == "light") {
    config.layers = ramp(0.45, 0.75, layers);
  } else if (text == "aggressive") {
    config.layers = ramp(0.65, 0.95, layers);
  } else {
    std::string_view rest = text;
    while (true) {
      const size_t comma = rest.find(',');
      config.layers.push_back(parse_one(rest.substr(0, comma), text));
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
    if (config.layers.size() == 1) config.layers.assign(n, config.layers[0]);
    if (config.layers.size() != n)
      fail<UsageError>("--sparsity {}: {} numbers for a model of {} layers; give one, or one for each layer", text,
                       config.layers.size(), layers);
  }
  return config;
}

Selection parse_sparsity_scope(const std::string& text) {
  if (text == "row") return Selection::top_k_row;
  if (text == "head") return Selection::percentile_head;
  fail<UsageError>("--sparsity-scope {}: it must be row or head", text);
}

std::string scope_name(Selection scope) { return scope == Selection::percentile_head ? "head" : "row"; }

}  // namespace crisp
