// A graph by parts of the model: layers, and what stands before, between and behind them. Equal layers fold.
#pragma once

#include <string>
#include <vector>

#include "tools/inspect/graph_record.h"

namespace crisp::inspect {

/// Operations that follow each other in one part: a layer (a scope whose name ends in a number, "layer.0"), or a scope
/// beside the layers.
struct GraphPart {
  std::string name;           // "layer.0", "embeddings"; "objective" outside of all
  size_t depth = 0;           // of its scope: so many names
  size_t begin = 0, end = 0;  // nodes
};

/// Equal parts that follow each other, or one part alone: the same operations on the same shapes, with the same FLOPs.
struct GraphFold {
  std::vector<GraphPart> parts;

  size_t begin() const { return parts.front().begin; }
  size_t end() const { return parts.back().end; }
  /// "layer.0", "layer.0 to layer.4".
  std::string name() const;
};

std::vector<GraphPart> parts_of(const Graph& graph);
/// `fold` = false: each part stands alone.
std::vector<GraphFold> folds_of(const Graph& graph, bool fold = true);

/// The node's place within its part: "attention.out_lin"; "" directly in it.
std::string place_in(const GraphPart& part, const Operation& operation);

struct CostSum {
  std::string name;
  int64_t count = 0;  // operations
  Cost cost = {};
};
Cost cost_of(const Graph& graph, size_t begin, size_t end);
/// By name, the one that takes the most time first; where nothing was timed, the one with the most FLOPs.
std::vector<CostSum> sums_by_operation(const Graph& graph);
/// In the order of execution. A part that is come back to is one.
std::vector<CostSum> sums_by_part(const Graph& graph);

}  // namespace crisp::inspect
