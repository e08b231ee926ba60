// Every member of the family of sparse attention, with several settings, for tests that hold for all of them.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "engine/ops.h"

namespace crisp::test {

struct Member {
  std::string name;
  AttentionRule rule;
  bool draws = false;  // random numbers whose index is that of the weight
};

constexpr double infinity = std::numeric_limits<double>::infinity();
inline const RandomKey mask_key{.seed = 11, .stream = Stream::masks, .step = 2, .site = 1};

/// For sequences of these lengths, with spans of type `type`.
std::vector<Member> members(int64_t heads, DType type, const std::vector<int32_t>& lengths);

/// [lengths + 1], i32.
Tensor offsets_of(const std::vector<int32_t>& lengths);

}  // namespace crisp::test
