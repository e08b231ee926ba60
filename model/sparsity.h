// What each layer's attention keeps: the settings of Crisp Attention (arXiv 2508.06016) and schedules over layers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/ops.h"

namespace crisp {

struct SparsityConfig {
  std::vector<double> layers;              // requested sparsity of each layer, in [0, 1); empty: dense
  Selection scope = Selection::top_k_row;  // what `layers` refers to: --sparsity-scope row | head
  bool at_evaluation = true;               // --sparse-eval: select keys at evaluation as in training
  std::string requested = "dense";         // how the user wrote it

  bool dense() const;
  /// Mean over layers; 0 when dense.
  double mean() const;
  /// The rule of one layer: Selection::all where it is dense or where this is an evaluation without sparsity.
  Selection selection(int64_t layer, bool training) const;
  double sparsity(int64_t layer) const;
};

/// Reads what a user writes after --sparsity, for a model of `layers` layers:
/// - a number S in [0, 1): every layer S;
/// - a list "S1,S2,...": one for each layer;
/// - "dense": 0 everywhere; "uniform": 0.7 everywhere;
/// - "light": 0.45 in the first layer, rising linearly to 0.75 in the last (mean 0.6);
/// - "aggressive": 0.65 in the first layer, rising linearly to 0.95 in the last (mean 0.8).
/// The paper gives the range 60..80 %, the mean of its aggressive configuration (80 %) and that deeper layers are
/// pruned more; the per-layer numbers are our choice. Throws UsageError.
SparsityConfig parse_sparsity(const std::string& text, int64_t layers);

/// "row" or "head". Throws UsageError.
Selection parse_sparsity_scope(const std::string& text);
std::string scope_name(Selection scope);

}  // namespace crisp
