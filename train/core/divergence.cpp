#include "train/core/divergence.h"

#include <fmt/format.h>

#include <utility>

namespace crisp {

std::string BrokenTensor::describe() const {
  switch (kind) {
    case Kind::sum:
      break;
    case Kind::parameter:
      return "the parameter " + name;
    case Kind::result:
      return "the result " + name;
    case Kind::result_gradient:
      return "the gradient of the result " + name;
    case Kind::parameter_gradient:
      return "the gradient of " + name;
  }
  return "none of those looked at: a sum of theirs overflowed";
}

StepDiverged::StepDiverged(const std::string& what, int64_t step, int64_t micro_step, BrokenTensor first_broken)
    : Diverged(
          fmt::format("{} at step {}; the first tensor that is not finite: {}\nTry a lower --learning-rate or a longer "
                      "warmup",
                      what, step, first_broken.describe())),
      cause_(what),
      step_(step),
      micro_step_(micro_step),
      first_broken_(std::move(first_broken)) {}

}  // namespace crisp
