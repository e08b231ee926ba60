// One forward and backward pass, operation by operation, with the values and gradients at each.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "tools/inspect/operations.h"

namespace crisp::inspect {

/// What is shown of a tensor: its first rows and columns, and numbers over all of it. All dimensions but the last make
/// rows; a vector is one row.
struct Excerpt {
  Shape shape;
  double mean = 0, least = 0, most = 0, norm = 0;  // not finite where an element is not; 0 of no elements
  std::vector<std::vector<double>> corner;

  int64_t rows() const { return shape.rows(); }
  int64_t columns() const { return shape.last(); }
};
/// At most `limit` rows and columns.
Excerpt excerpt_of(std::span<const double> values, const Shape& shape, int64_t limit);
Excerpt excerpt_of(const Tensor& tensor, int64_t limit);

/// What became of one of Operation::inputs.
struct StepInput {
  Excerpt value;
  std::optional<Excerpt> added = {};  // what the operation's backward function added to its gradient
  std::vector<int32_t> rows = {};     // of a table whose gradient is by rows: those that `added` holds
};

struct StepNode {
  Operation operation;
  std::vector<StepInput> inputs;  // as in the operation
  Excerpt value;
  std::optional<Excerpt> gradient =
      {};  // of the objective by the value; none where the objective does not depend on it
};

/// Runs `objective`, which computes a number on the tape it is given, and the pass back from it. Leaves' gradients are
/// cleared before and after.
std::vector<StepNode> record_step(const Context& context, const std::function<Tensor(Tape&)>& objective, int64_t limit);

}  // namespace crisp::inspect
