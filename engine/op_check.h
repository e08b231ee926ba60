// Checks every backward function of a computation by itself, where it stands: which of them is wrong, when the gradient
// of the whole is.
//
// An operation y = f(x) gets dy and adds dy' J to dx, where J = df/dx. Along a direction v that is d/dt dy . f(x + t
// v), which differences of f alone tell: whether dy is right is the business of the operations behind it, so that one
// mistake is one finding.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/tape.h"
#include "engine/tensor.h"

namespace crisp {

struct OpCheck {
  size_t node = 0;    // in the order of Tape::nodes()
  std::string op;     // "linear"
  std::string scope;  // "DistilBert > layer.2 > ffn"; "" where none is set
  std::string input;  // its name, else what made it: Tensor::label()
  size_t input_index = 0;
  double analytic = 0, numeric = 0;  // what is added to dx, along a random direction
  double resolution = 0;             // what rounding may do to `numeric`
  double error = 0;                  // |analytic - numeric| / max(|analytic|, |numeric|)
  bool passes(double tolerance) const;
  /// "layer_norm's gradient for x": for messages.
  std::string str() const;
};

struct OpCheckOptions {
  uint64_t seed = 1;  // of the directions
  /// Distance, in units of the root mean square of x. Where the derivatives differ by more than `tolerance` a hundredth
  /// and a ten-thousandth of it are tried, too, lest a kink nearby pass for a mistake.
  double step = 1e-3;
  double tolerance = 1e-6;
};

/// Every operation that f records and each of its inputs that requires a gradient, in execution order. `f` returns one
/// number from the current values of f64 leaves, the same operations each time, and runs some 4 times for each input of
/// each operation, as far as that operation. Values are moved in place and restored; gradients of the leaves are
/// cleared. An input that an operation has twice is checked once. Throws Error where something is not f64.
std::vector<OpCheck> check_operations(const std::function<Tensor(Tape&)>& f, const Context& context,
                                      const OpCheckOptions& options = {});

}  // namespace crisp
