// What an optimizer step needs, outside of any tape: the AdamW update, the sum of squares for the gradient norm, and
// the search for values that are not finite.
#include "engine/error.h"
#include "engine/ops.h"

namespace crisp {
namespace {

void check_moments(const Tensor& parameter, const Tensor& m, const Tensor& v) {
  for (const Tensor& t : {m, v}) {
    if (t.shape() != parameter.shape() || t.dtype() != parameter.dtype() || t.device() != parameter.device())
      fail("adamw: {} is {} {}, but its moments are {} {}", parameter.label(), parameter.shape().str(),
           name_of(parameter.dtype()), t.shape().str(), name_of(t.dtype()));
  }
}

}  // namespace

void adamw(const Tensor& parameter, const Tensor& gradient, const Tensor& m, const Tensor& v, const AdamWStep& step) {
  check_moments(parameter, m, v);
  if (gradient.shape() != parameter.shape() || gradient.dtype() != parameter.dtype())
    fail("adamw: {} is {} {}, but its gradient is {} {}", parameter.label(), parameter.shape().str(),
         name_of(parameter.dtype()), gradient.shape().str(), name_of(gradient.dtype()));
  if (step.step < 1) fail("adamw: steps count from 1, not {}", step.step);
  const Device device = parameter.device();
  with_type(parameter, [&]<class T>() {
    need(kernels<T>(device).adamw, "adamw", device)(nullptr, parameter.numel(), step, gradient.data<T>(),
                                                    parameter.data<T>(), m.data<T>(), v.data<T>());
  });
}

void adamw_rows(const Tensor& parameter, const Tensor& m, const Tensor& v, const AdamWStep& step,
                std::span<const AdamWRates> rates, const Tensor& rows, const Tensor& from, const Tensor& gradient) {
  check_moments(parameter, m, v);
  const int64_t n = rows.numel();
  if (parameter.rank() != 2 || from.numel() != n || (gradient && gradient.shape() != Shape{n, parameter.dim(1)}))
    fail("adamw_rows: {} of shape {} with {} rows, {} steps to begin at and gradients of shape {}", parameter.label(),
         parameter.shape().str(), n, from.numel(), gradient ? gradient.shape().str() : "(none)");
  const Device device = parameter.device();
  with_type(parameter, [&]<class T>() {
    need(kernels<T>(device).adamw_rows, "adamw_rows", device)(
        nullptr, n, parameter.dim(1), step, rates.data(), static_cast<int64_t>(rates.size()), rows.data<int32_t>(),
        from.data<int32_t>(), gradient ? gradient.data<T>() : nullptr, parameter.data<T>(), m.data<T>(), v.data<T>());
  });
}

double sum_squares(const Tensor& x) {
  const Device device = x.device();
  const Tensor out = Tensor::empty({}, DType::f64, device);
  with_type(x, [&]<class T>() {
    need(kernels<T>(device).sum_squares, "sum_squares", device)(nullptr, x.numel(), x.data<T>(), out.data<double>());
  });
  return out.item();
}

double sum_squares(const RowGradient& gradient) {
  const Device device = gradient.values.device();
  const int64_t n = gradient.values.dim(0), dim = gradient.values.dim(1);
  const Tensor out = Tensor::empty({n}, DType::f64, device);
  with_type(gradient.values, [&]<class T>() {
    const auto kernel = need(kernels<T>(device).sum_squares, "sum_squares", device);
    for (int64_t r = 0; r < n; ++r) kernel(nullptr, dim, gradient.values.data<T>() + r * dim, out.data<double>() + r);
  });
  const Tensor host = out.to(Device::cpu);
  double sum = 0;
  for (int64_t r = 0; r < n; ++r) sum += host.data<double>()[r];
  return sum;
}

bool all_finite(const Tensor& x) {
  const Device device = x.device();
  const Tensor out = Tensor::empty({}, DType::i32, device);
  with_type(x, [&]<class T>() {
    need(kernels<T>(device).all_finite, "all_finite", device)(nullptr, x.numel(), x.data<T>(), out.data<int32_t>());
  });
  return out.item() != 0;
}

}  // namespace crisp
