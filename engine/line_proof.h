// Proves one derivative of a function in f64 by its values alone, as a curve over the step: the error of central
// differences, which falls with the square of the step until rounding lifts it again (a V in double-logarithmic
// scales), and the remainder of Taylor's first order, which falls with the square of the step only where the derivative
// is right.
//
//   const LineProof proof = prove_along([&](double t) { return f(x + t * v); }, dot(gradient, v));
//   proof.passes(1e-6);
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <vector>

namespace crisp {

/// What one step h shows of f along a line.
struct LineStep {
  double step = 0;
  double central = 0;    // (f(h) - f(-h)) / 2h
  double error = 0;      // |central - analytic| / max(|central|, |analytic|); 0 where both are 0
  double remainder = 0;  // |f(h) - f(0) - h analytic|
};

struct LineProof {
  double value = 0;     // f(0)
  double analytic = 0;  // what is to be proved
  /// The derivative by differences: (4 D(h) - D(2h)) / 3 of the central differences D, at the step where it changes
  /// least from one step to the next, so that the analytic value has no part in its choice. NaN without enough steps.
  double numeric = std::numeric_limits<double>::quiet_NaN(), numeric_step = 0;
  /// What rounding may do to `numeric`: 16 roundings of the function's largest value, over the step.
  double resolution = 0;
  double error = 0;  // |numeric - analytic| / max(|numeric|, |analytic|)
  /// d log(remainder) / d log(step) at the smallest step whose remainder rounding leaves alone: 2 where the derivative
  /// is right, 1 where it is wrong. None where the function is too straight, or too rough, for a step to show it.
  std::optional<double> slope;
  std::vector<LineStep> steps;  // each half of the one before

  /// Both derivatives agree to `tolerance` (relative), or to the resolution.
  bool passes(double tolerance) const;
  /// Whether both are 0 as far as differences can tell, so that `error` says nothing.
  bool is_zero() const;
};

struct LineProofOptions {
  double largest = 0.25, smallest = 1e-11;  // steps; powers of two between them are taken
  /// Steps above it are left out of `steps`: where the function is known to be another one.
  double limit = std::numeric_limits<double>::infinity();
};

/// `f(t)` is the function at distance t along the line; it is called at 0 and twice a step.
LineProof prove_along(const std::function<double(double)>& f, double analytic, const LineProofOptions& options = {});

}  // namespace crisp
