// One forward and backward pass, operation by operation, with what each costs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "tools/inspect/operations.h"

namespace crisp::inspect {

/// What an operation, or several together, cost.
struct Cost {
  double flops = 0;                         // of the forward pass, as the tape counts them
  int64_t kept = 0;                         // bytes that it keeps for the backward pass
  std::optional<double> forward, backward;  // seconds; none where it has not run

  Cost& operator+=(const Cost& other);
};

struct GraphNode {
  Operation operation;
  Cost cost;
};

struct Graph {
  std::vector<GraphNode> nodes;  // in the order of execution
  int64_t repeats = 0;           // times are medians of so many passes
  Cost total() const;
};

struct GraphOptions {
  int64_t repeats = 5;
  bool backward = true;  // run that, too
};

/// Runs `objective`, which computes a number on the tape it is given, and the pass back from it: once to look, once for
/// the memory, then for the times. Every run must record the same operations. Leaves' gradients are cleared.
Graph record_graph(const Context& context, const std::function<Tensor(Tape&)>& objective, const GraphOptions& options);

}  // namespace crisp::inspect
