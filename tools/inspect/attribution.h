// How much each token of a text contributes to a model's answer f.
//
// The input is the word embedding x_i of each token, before its position is added and both are normalised.
//   gradient x input      x_i . df/dx_i
//   integrated gradients  (x_i - x'_i) . the integral over a from 0 to 1 of df/dx_i at x' + a (x - x'),
// from a baseline x' (Sundararajan, Taly & Yan, arXiv 1703.01365). Where f has no jump on that path, integrated
// gradients sum to f(x) - f(x') (completeness), but for the error of the quadrature. Sparse attention that chooses by
// scores jumps where the choice changes, by what no gradient tells: then their sum stays apart from f(x) - f(x').
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/distilbert.h"
#include "tools/inspect/subject.h"

namespace crisp::inspect {

struct AttributionInput {
  static constexpr int32_t no_word = -1;

  std::vector<int32_t> ids;                      // [tokens]
  std::vector<int32_t> baseline;                 // [tokens]; no_word: an embedding of zeros
  std::span<const int32_t> tree_distances = {};  // Batch::Options
};

struct AttributionOptions {
  int64_t steps = 0;          // points of the quadrature; 0: 8, 16, 32, .. until the error is <= tolerance
  int64_t most_steps = 1024;  // of those
  double tolerance = 0.01;
  ForwardMode mode = {};     // without `stats` and `weights`
  int64_t batch_rows = 256;  // points of the path are sequences of one batch of about so many tokens
  std::function<void(int64_t done, int64_t steps)> progress = {};  // points
};

struct Attribution {
  int64_t tokens = 0, dim = 0;
  std::vector<double> embeddings, baseline;  // [tokens, dim]: x and x'
  std::vector<double> gradient;              // [tokens, dim]: at x
  std::vector<double> gradient_x_input;      // [tokens, dim]
  std::vector<double> integrated_gradients;  // [tokens, dim]
  double value = 0, baseline_value = 0;      // f(x), f(x')
  struct Trial {
    int64_t steps;
    double sum;  // of all integrated gradients
  };
  std::vector<Trial> trials;  // the last counts
  double tolerance = 0;

  double difference() const { return value - baseline_value; }
  /// |sum - (f(x) - f(x'))| in units of |f(x) - f(x')|; 0 where both are 0.
  double error(const Trial& trial) const;
  double error() const { return error(trials.back()); }
  bool reached() const { return error() <= tolerance; }
  /// Sums over the embeddings: of [tokens, dim] -> [tokens].
  std::vector<double> by_token(const std::vector<double>& elements) const;
};

/// All sums are in f64, whatever the model's dtype. The model itself is only read. Throws Error where ids and baseline
/// do not fit together, Diverged where f is not finite.
Attribution attribute(const Context& context, const DistilBert& model, const AttributionInput& input,
                      const Objective& objective, const AttributionOptions& options);

}  // namespace crisp::inspect
