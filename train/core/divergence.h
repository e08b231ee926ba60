// What a run that is not finite any more says of itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/tensor.h"

namespace crisp {

/// The first tensor in time that is not finite.
struct BrokenTensor {
  enum class Kind : uint8_t {
    sum,                // none of those that are kept: a sum over finite numbers overflowed
    parameter,          // a weight, before the step
    result,             // of an operation, on the way forward
    result_gradient,    // at the result of an operation, on the way back
    parameter_gradient  // of a weight
  };
  Kind kind = Kind::sum;
  std::string name = {};            // of the parameter or result, as messages have it: Tensor::label()
  std::string operation = {};       // that made the result: "layer_norm"; of others ""
  std::string module = {};          // where the result was made: "DistilBert > layer.2 > ffn"; of others ""
  Tensor values = {};               // the tensor itself, or the gradient; of a sum none
  std::vector<Tensor> inputs = {};  // of a result: what its operation was given
  std::vector<int32_t> rows = {};   // of a gradient by rows: which rows of the parameter its rows are

  /// "the result \"DistilBert > layer.2 > ffn > feed_forward\""
  std::string describe() const;
};

/// A training step that is not finite. No weight has been changed by it.
class StepDiverged : public Diverged {
 public:
  /// `what`: "the loss is nan".
  StepDiverged(const std::string& what, int64_t step, int64_t micro_step, BrokenTensor first_broken);

  /// The optimizer step, from 1, and the micro-step, from 0 (Trainer::examples).
  int64_t step() const { return step_; }
  int64_t micro_step() const { return micro_step_; }
  /// Without the rest of the message.
  const std::string& cause() const { return cause_; }
  const BrokenTensor& first_broken() const { return first_broken_; }

 private:
  std::string cause_;
  int64_t step_, micro_step_;
  BrokenTensor first_broken_;
};

}  // namespace crisp
