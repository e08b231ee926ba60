// What the operations along one axis share.
#pragma once

#include <array>
#include <string>

#include "engine/op.h"

namespace crisp {

/// A shape seen from one of its axes: [outer, n, inner].
struct AxisSplit {
  int axis = 0;  // counted from the front
  int64_t outer = 1, n = 1, inner = 1;
};

inline AxisSplit split_axis(const Tape& tape, const Op& op, const Tensor& x, int axis) {
  const int rank = x.rank();
  if (axis < -rank || axis >= rank)
    fail_operands(tape, op,
                  "axis " + std::to_string(axis) + " is outside a tensor of " + std::to_string(rank) + " dimensions",
                  {{"x", x}});
  AxisSplit s;
  s.axis = axis < 0 ? axis + rank : axis;
  for (int i = 0; i < rank; ++i) (i < s.axis ? s.outer : i == s.axis ? s.n : s.inner) *= x.dim(i);
  return s;
}

/// x's shape without the axis.
inline Shape without_axis(const Tensor& x, int axis) {
  std::array<int64_t, Shape::max_rank> dims{};
  size_t rank = 0;
  for (int i = 0; i < x.rank(); ++i)
    if (i != axis) dims[rank++] = x.dim(i);
  return Shape(std::span<const int64_t>(dims).first(rank));
}

}  // namespace crisp
