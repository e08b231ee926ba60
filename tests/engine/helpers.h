// What the engine's tests share.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "engine/adamw.h"
#include "engine/error.h"
#include "engine/gradcheck.h"
#include "engine/op.h"
#include "engine/ops.h"
#include "tests/support/catch.h"

namespace crisp::test {

/// Normal numbers without a gradient, in any dtype.
inline Tensor numbers(const Shape& shape, uint64_t seed, DType dtype = DType::f64, double mean = 0,
                      double deviation = 1) {
  return Tensor::normal(shape, dtype, {.seed = seed, .stream = Stream::init}, mean, deviation);
}

inline Tensor vec(const std::vector<double>& values, DType dtype = DType::f64) {
  return Tensor::from(std::span<const double>(values), {static_cast<int64_t>(values.size())}, dtype);
}

/// The L2 norm of the difference relative to that of `expected`; 0 when both are empty. NaN when anything is.
inline double relative_error(const std::vector<double>& actual, const std::vector<double>& expected) {
  if (actual.size() != expected.size()) return std::nan("");
  double difference = 0, size = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return difference == 0 ? 0 : std::sqrt(difference / size);
}

/// On the CPU.
inline std::shared_ptr<Integers> integers(std::vector<int32_t> values) {
  auto all = std::make_shared<Integers>();
  all->host.assign(values.begin(), values.end());
  upload_integers(Device::cpu, std::array{all.get()});
  return all;
}

/// One update of one parameter.
inline void adamw(const Tensor& parameter, const Tensor& gradient, const Tensor& m, const Tensor& v,
                  const AdamWStep& step, const Context& context = Context::standard()) {
  const AdamWPart part{parameter, gradient, m, v, step};
  crisp::adamw(context, {&part, 1}, {});
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// A sample's inputs on a device, numbers as `type`: the same in f32 and f64. What stands there twice stays one tensor.
inline std::vector<Tensor> inputs_on(Device device, DType type, const Sample& sample) {
  std::vector<Tensor> copies;
  for (const Tensor& t : sample.inputs) {
    const auto first = std::find_if(sample.inputs.begin(), sample.inputs.end(), [&](auto& o) { return o.same_as(t); });
    const auto at = static_cast<size_t>(first - sample.inputs.begin());
    const Tensor x = t.detach();
    copies.push_back(at < copies.size()        ? copies[at]
                     : t.dtype() == DType::i32 ? x.clone().to(device)
                                               : x.to(DType::f32).to(type).clone().to(device));
    if (t.requires_grad()) copies.back().set_requires_grad();
  }
  return copies;
}

/// The message of the Error that f throws; fails the test where it throws none.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  FAIL("no error was thrown");
  return {};
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace crisp::test
