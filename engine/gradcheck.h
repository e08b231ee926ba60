// Proves a gradient: compares what backward() computes with central differences, in f64.
//
//   const Tensor x = Tensor::normal({3, 4}, DType::f64, {.seed = 1}).set_requires_grad();
//   const auto report = check_gradients([](Tape& t, std::span<const Tensor> in) { return gelu(t, in[0]); }, {x});
//   report.passes(1e-7);   // true
//   report.str();          // one line per input
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/tape.h"
#include "engine/tensor.h"

namespace crisp {

struct GradCheckOptions {
  /// Distance h between the points of the difference quotient (8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))) / 12h,
  /// rounded to a power of two. Its error is h^4 f'''''/30, about 1e-13 for functions that change over distances of
  /// about 1, which balances the rounding error of about 1e-16 f / h.
  double step = 1e-3;
  /// Of the fixed random weights with which a result of many elements is contracted to one number.
  uint64_t seed = 1;
};

/// How one input did.
struct InputCheck {
  std::string label;  // its name, or "input 0"
  int64_t elements = 0;
  double relative_error = 0;  // |analytic - numeric| / max(|analytic|, |numeric|) over the whole input, in the L2 norm
  /// The largest |analytic - numeric| / max(|analytic|, |numeric|, floor) over the elements. The norm above hides an
  /// error of one small element among large ones; this one does not. The floor is element_floor times the root mean
  /// square of the input's gradient: below it an element counts with its absolute error, because central differences
  /// resolve it no better than the sum of all weighted results that they subtract.
  double element_error = 0;
  int64_t worst = -1;                // flat index of the element with that error, -1 where there is no element
  double analytic = 0, numeric = 0;  // at that element
  static constexpr double element_floor = 1e-2;
};

struct GradCheckReport {
  std::vector<InputCheck> inputs;  // those that require a gradient
  /// The largest relative or element error; NaN if any is.
  double max_error() const;
  /// Every input's relative error and every element's error is at most the tolerance.
  bool passes(double tolerance) const { return max_error() <= tolerance; }
  /// One line per input, for people.
  std::string str() const;
};

/// Checks d(sum w f(inputs)) / d(input), w fixed random numbers, for every element of every input that requires a
/// gradient. All inputs that do must be f64, on any device; they are copied, so neither their values nor their
/// gradients change. A tensor that stands twice in `inputs` stays one tensor. f must be a function of its arguments
/// alone; where it is not smooth within 2 * step of the inputs (a kink of relu, a tie of max), the check fails or
/// proves nothing. Throws Error when an input is not f64, or when f's result does not depend on any input that requires
/// a gradient.
GradCheckReport check_gradients(const std::function<Tensor(Tape&, std::span<const Tensor>)>& f,
                                const std::vector<Tensor>& inputs, const GradCheckOptions& options = {});

/// One random direction through all parameters.
struct DirectionCheck {
  double analytic = 0, numeric = 0;
  double relative_error = 0;  // |analytic - numeric| / max(|analytic|, |numeric|)
};

struct DirectionalReport {
  std::vector<DirectionCheck> directions;
  double max_error() const;
  bool passes(double tolerance) const { return max_error() <= tolerance; }
  std::string str() const;
};

/// For whole models, whose elements are too many to check one by one: compares the directional derivative of a scalar
/// loss along random directions (normal numbers, scaled to unit length over all parameters together) with central
/// differences. f returns the loss from the current values of `parameters`, which are changed in place and restored;
/// their gradients are cleared. `step` is the distance along the direction. The parameters must be f64, on any
/// device, and require gradients; throws Error where they are not. A parameter that the loss does not depend on counts
/// as having gradient 0.
DirectionalReport check_directional(const std::function<Tensor(Tape&)>& f, const std::vector<Tensor>& parameters,
                                    int directions, uint64_t seed = 1, double step = 1e-3);

}  // namespace crisp
