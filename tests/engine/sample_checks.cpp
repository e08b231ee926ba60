#include "tests/engine/sample_checks.h"

#include <fmt/format.h>

#include <cmath>

#include "engine/fail.h"
#include "engine/gradcheck.h"
#include "engine/ops.h"

namespace crisp::test {

double relative_error(const std::vector<double>& actual, const std::vector<double>& expected) {
  if (actual.size() != expected.size()) return std::nan("");
  double difference = 0, size = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return difference == 0 ? 0 : std::sqrt(difference / size);
}

std::vector<Tensor> inputs_on(Device device, const Sample& sample) {
  return copies_of_inputs(sample, [&](const Tensor& x) { return x.clone().to(device); });
}

std::vector<Tensor> inputs_on(Device device, DType type, const Sample& sample) {
  return copies_of_inputs(sample, [&](const Tensor& x) {
    return (x.dtype() == DType::i32 ? x : x.to(DType::f32).to(type)).clone().to(device);
  });
}

std::vector<Tensor> results(const Sample& sample, Device device, DType type, int uses) {
  const std::vector<Tensor> inputs = inputs_on(device, type, sample);
  Tape tape;
  Tensor y, loss;
  for (int i = 0; i < uses; ++i) {
    y = sample.run(tape, inputs);
    if (y.device() != device) fail("the result is on another device than the operands: {}", y.str());
    const Tensor weighted = sum(tape, mul(tape, y, numbers(y.shape(), 99, type).to(device)));
    loss = loss ? add(tape, loss, weighted) : weighted;
  }
  tape.backward(loss);
  std::vector<Tensor> all{y.detach().to(Device::cpu)};
  for (const Tensor& t : inputs)
    if (t.requires_grad()) all.push_back(t.grad().to(Device::cpu));
  return all;
}

std::string gradient_problem(const Sample& sample) {
  if (!(sample.tolerance <= 1e-6)) return fmt::format("a tolerance of {} finds little", sample.tolerance);
  const GradCheckReport report = check_gradients(sample.run, inputs_on(test_device(), sample));
  if (report.inputs.empty()) return "no input requires a gradient";
  return report.passes(sample.tolerance) ? "" : "not what central differences give:\n" + report.str();
}

std::string accumulation_problem(const Sample& sample) {
  bool nothing = sample.what == "by zero" || sample.what == "one column";
  for (const Tensor& t : sample.inputs) nothing = nothing || t.numel() == 0;
  const auto once = results(sample, test_device(), DType::f64), twice = results(sample, test_device(), DType::f64, 2);
  nothing = nothing || once[0].numel() == 0;
  for (size_t i = 1; i < once.size(); ++i) {
    const std::vector<double> single = once[i].to_vector(), both = twice.at(i).to_vector();
    double squares = 0;
    for (size_t e = 0; e < single.size(); ++e) {
      squares += single[e] * single[e];
      const double expected = 2 * single[e];
      if (!(std::abs(both.at(e) - expected) <= 1e-14 + 1e-12 * std::abs(expected)))
        return fmt::format("gradient {} of a sample used twice: {} at {}, not {}", i, both[e], e, expected);
    }
    if (!nothing && !(std::sqrt(squares) > 1e-6)) return fmt::format("gradient {} is 0", i);
  }
  return "";
}

std::string f32_problem(const Sample& sample) {
  const auto single = results(sample, test_device(), DType::f32), exact = results(sample, test_device(), DType::f64);
  for (size_t i = 0; i < exact.size(); ++i) {
    if (single.at(i).dtype() != DType::f32) return fmt::format("result or gradient {} is not of f32", i);
    const double error = relative_error(single[i].to_vector(), exact[i].to_vector());
    if (!(error < tolerance_of(DType::f32)))
      return fmt::format("f32's gradient {} (0: result) is {:.1e} off", i, error);
  }
  return "";
}

}  // namespace crisp::test
