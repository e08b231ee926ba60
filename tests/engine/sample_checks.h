// What holds for every sample of every operation, without a test framework: the tests of a device ask it, and programs
// for places where there is none (tests/wasm).
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/op.h"
#include "tests/support/test_device.h"

namespace crisp::test {

/// Normal numbers without a gradient, in any dtype.
inline Tensor numbers(const Shape& shape, uint64_t seed, DType dtype = DType::f64, double mean = 0,
                      double deviation = 1) {
  return Tensor::normal(shape, dtype, {.seed = seed, .stream = Stream::init}, mean, deviation, test_device());
}

/// The L2 norm of the difference relative to that of `expected`; 0 when both are empty. NaN when anything is, or one is
/// longer.
double relative_error(const std::vector<double>& actual, const std::vector<double>& expected);

/// f(input) for each of a sample's inputs. What stands there twice stays one tensor.
template <class F>
std::vector<Tensor> copies_of_inputs(const Sample& sample, F&& f) {
  std::vector<Tensor> copies;
  for (const Tensor& t : sample.inputs) {
    const auto first = std::find_if(sample.inputs.begin(), sample.inputs.end(), [&](auto& o) { return o.same_as(t); });
    const auto at = static_cast<size_t>(first - sample.inputs.begin());
    copies.push_back(at < copies.size() ? copies[at] : f(t.detach()));
    if (t.requires_grad()) copies.back().set_requires_grad();
  }
  return copies;
}
/// A sample's inputs on a device.
std::vector<Tensor> inputs_on(Device device, const Sample& sample);
/// The same, numbers as `type`, with the same values in f32 and f64.
std::vector<Tensor> inputs_on(Device device, DType type, const Sample& sample);

/// Result and gradients of a sample, in host memory; with its weighted sum `uses` times in the loss. Throws Error where
/// the result is on another device.
std::vector<Tensor> results(const Sample& sample, Device device, DType type, int uses = 1);

/// The largest relative error of f32's and of f64's results and gradients against f64's of the CPU, or of a machine
/// that is trusted.
constexpr double tolerance_of(DType type) { return type == DType::f64 ? 1e-13 : 4e-6; }

// Each says what is wrong with a sample on test_device(), "" where nothing is.

/// Its gradients, element by element, equal central differences in f64 to the sample's tolerance.
std::string gradient_problem(const Sample& sample);
/// Used twice on one tape it gives twice the gradient. The gradient of a plain sum is 0 where a result's sum is
/// constant (softmax), and hides a wrong factor: here it is a weighted sum's, and none may be 0, except of empty
/// samples and of those whose derivative is 0.
std::string accumulation_problem(const Sample& sample);
/// Result and gradients in f32 equal those in f64 to f32's precision.
std::string f32_problem(const Sample& sample);

}  // namespace crisp::test
