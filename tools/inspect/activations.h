// The results of a tape's operations under names, their gradients, and numbers that sum up a tensor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/tape.h"

namespace crisp::inspect {

/// "layer.2.ffn.feed_forward": the place in the model and the operation; a second one of that name ends with "#2".
struct NamedResult {
  std::string name;
  Tensor value;
};
/// Of a tape that keeps values and has not yet run backward: its results in the order of execution. The tape keeps
/// their gradients then.
std::vector<NamedResult> activations_of(Tape& tape);

/// The one of `names` that is `wanted`, or of which `wanted` is the end from a dot on and of no other. Throws
/// UsageError, with the nearest name: "the model has no WHAT ..".
size_t find_name(const std::string& wanted, const std::vector<std::string>& names, const std::string& what);

struct TensorNumbers {
  double norm = 0, mean = 0, min = 0, max = 0;
  int64_t zeros = 0;
  double largest = 0;      // the element of the largest magnitude (a NaN counts as that), with its sign
  int64_t largest_at = 0;  // flat
};
/// Of at least one element.
TensorNumbers numbers_of(const std::vector<double>& values);
/// Of a tensor's gradient, of all its elements even where the gradient is that of some rows of a table; none where
/// there is no gradient.
std::optional<TensorNumbers> gradient_numbers(const Tensor& tensor);

/// The indices of an element: "3,17"; "" for a scalar.
std::string place_text(int64_t element, const Shape& shape);
std::vector<int64_t> place(int64_t element, const Shape& shape);

}  // namespace crisp::inspect
