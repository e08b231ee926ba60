// A number to take gradients of, made of a model's logits.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/tape.h"
#include "engine/tensor.h"

namespace crisp {

/// The cross-entropy of a label, or one logit.
struct Objective {
  std::optional<int32_t> label = {};
  int64_t logit = 0;  // where there is no label
  /// Of logits [batch, num_labels]: a scalar, the sum over the batch.
  Tensor of(Tape& tape, const Tensor& logits) const;
};

}  // namespace crisp
