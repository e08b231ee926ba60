#include "train/inference/objective.h"

#include <vector>

#include "engine/ops.h"

namespace crisp {

Tensor Objective::of(Tape& tape, const Tensor& logits) const {
  const int64_t batch = logits.dim(0);
  if (label) {
    const std::vector<int32_t> labels(static_cast<size_t>(batch), *label);
    const Tensor mean = cross_entropy(tape, logits, on(logits.device(), Rows(labels)));
    return batch == 1 ? mean : scale(tape, mean, static_cast<double>(batch));
  }
  const Tensor column = slice(tape, logits, 1, logit, 1);
  return batch == 1 ? reshape(tape, column, {}) : sum(tape, column);
}

}  // namespace crisp
