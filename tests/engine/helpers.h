// What the engine's tests share.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "engine/adamw.h"
#include "engine/error.h"
#include "engine/gradcheck.h"
#include "engine/op.h"
#include "engine/ops.h"
#include "tests/engine/sample_checks.h"
#include "tests/support/catch.h"
#include "tests/support/test_device.h"

namespace crisp::test {

/// numbers() that require a gradient.
inline Tensor input(const Shape& shape, uint64_t seed, DType dtype, double mean = 0, double deviation = 1) {
  return numbers(shape, seed, dtype, mean, deviation).set_requires_grad();
}

inline Tensor tensor_of(const std::vector<double>& values, const Shape& shape, DType dtype = DType::f64) {
  return Tensor::from(std::span<const double>(values), shape, dtype, test_device());
}
inline Tensor vec(const std::vector<double>& values, DType dtype = DType::f64) {
  return tensor_of(values, {static_cast<int64_t>(values.size())}, dtype);
}
/// A vector of whole numbers: ids, offsets, labels.
inline Tensor i32(const std::vector<int32_t>& values) {
  return Tensor::from(std::span<const int32_t>(values), {static_cast<int64_t>(values.size())}, test_device());
}
inline std::vector<int32_t> i32_values(const Tensor& t) {
  const std::vector<double> values = t.to_vector();
  return {values.begin(), values.end()};
}
inline Tensor full(const Shape& shape, DType dtype, double value) {
  return Tensor::full(shape, dtype, value, test_device());
}
inline Tensor zeros(const Shape& shape, DType dtype) { return Tensor::zeros(shape, dtype, test_device()); }
inline Tensor scalar(double value, DType dtype) { return Tensor::scalar(value, dtype, test_device()); }

inline std::shared_ptr<Integers> integers(std::vector<int32_t> values) {
  auto all = std::make_shared<Integers>();
  all->host.assign(values.begin(), values.end());
  upload_integers(test_device(), std::array{all.get()});
  return all;
}

/// One update of one parameter.
inline void adamw(const Tensor& parameter, const Tensor& gradient, const Tensor& m, const Tensor& v,
                  const AdamWStep& step, const Context& context = Context::standard()) {
  const AdamWPart part{parameter, gradient, m, v, step};
  crisp::adamw(context, {&part, 1}, {});
}

/// Wherever they are.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = a.detach().to(Device::cpu), y = b.detach().to(Device::cpu);
  return x.shape() == y.shape() && x.dtype() == y.dtype() && std::memcmp(x.raw(), y.raw(), x.bytes()) == 0;
}

/// f(sample) for all; for those of one operation where the environment's CRISP_TEST_OP names it, while it is being
/// written.
template <class F>
void for_all_samples(F&& f) {
  const char* const only = std::getenv("CRISP_TEST_OP");
  for (const Op* op : all_ops()) {
    if (only && std::string(op->name) != only) continue;
    for (const Sample& sample : op->samples()) {
      INFO(op->name << ": " << sample.what);
      f(sample);
    }
  }
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
