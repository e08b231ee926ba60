// What an optimizer step needs, outside of any tape: the AdamW update, the sum of squares for the gradient norm, and
// the search for values that are not finite.
#include "engine/error.h"
#include "engine/ops.h"

namespace crisp {

void adamw(const Tensor& parameter, const Tensor& gradient, const Tensor& m, const Tensor& v, const AdamWStep& step) {
  for (const Tensor& t : {gradient, m, v}) {
    if (t.shape() != parameter.shape() || t.dtype() != parameter.dtype() || t.device() != parameter.device())
      fail("adamw: {} is {} {}, but its gradient or moments are {} {}", parameter.label(), parameter.shape().str(),
           name_of(parameter.dtype()), t.shape().str(), name_of(t.dtype()));
  }
  if (step.step < 1) fail("adamw: steps count from 1, not {}", step.step);
  const Device device = parameter.device();
  with_type(parameter, [&]<class T>() {
    need(kernels<T>(device).adamw, "adamw", device)(nullptr, parameter.numel(), step, gradient.data<T>(),
                                                    parameter.data<T>(), m.data<T>(), v.data<T>());
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

bool all_finite(const Tensor& x) {
  const Device device = x.device();
  const Tensor out = Tensor::empty({}, DType::i32, device);
  with_type(x, [&]<class T>() {
    need(kernels<T>(device).all_finite, "all_finite", device)(nullptr, x.numel(), x.data<T>(), out.data<int32_t>());
  });
  return out.item() != 0;
}

}  // namespace crisp
