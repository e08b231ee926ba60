// Every member of the family of sparse attention, with several settings, for tests that hold for all of them; and
// weights as they are seen from outside.
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

/// [n, n].
Tensor unit_matrix(int64_t n, DType type);

/// The weights [n, n] of one sequence with exactly these scores [n, n], whatever rule.scale is: q = scores, k = v = the
/// unit matrix, scale 1.
std::vector<double> weights_of(const Tensor& scores, AttentionRule rule, AttentionStats* stats = nullptr);

}  // namespace crisp::test
