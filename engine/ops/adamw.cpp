// What an optimizer step needs, outside of any tape: the AdamW update, the sum of squares for the gradient norm, and
// the search for values that are not finite.
#include <utility>
#include <vector>

#include "engine/allocator.h"
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

// What the kernel trusts: it neither reads nor writes outside of the table and of the rates.
void check_rows(const Tensor& parameter, int64_t steps, const Tensor& rows, const Tensor& from,
                const Tensor& gradient) {
  if (parameter.rank() != 2)
    fail("adamw_rows: {} is {}; a table [rows, dim] is needed", parameter.label(), parameter.shape().str());
  for (const auto& [t, role] : {std::pair(rows, "rows"), std::pair(from, "from")}) {
    if (!t || t.rank() != 1 || t.dtype() != DType::i32 || t.numel() != rows.numel() || t.device() != parameter.device())
      fail("adamw_rows: {} of {} must be i32 [n] on its device, as many as rows; they are {}", role, parameter.label(),
           t ? fmt::format("{} {}", t.shape().str(), name_of(t.dtype())) : "missing");
  }
  const int64_t n = rows.numel();
  const Shape wanted{n, parameter.dim(1)};
  if (gradient &&
      (gradient.shape() != wanted || gradient.dtype() != parameter.dtype() || gradient.device() != parameter.device()))
    fail("adamw_rows: the gradient of {} rows of {} must be {} {} on its device; it is {} {}", n, parameter.label(),
         wanted.str(), name_of(parameter.dtype()), gradient.shape().str(), name_of(gradient.dtype()));
  const Tensor host_rows = rows.to(Device::cpu), host_from = from.to(Device::cpu);
  const int64_t last = gradient ? steps - 1 : steps;  // to begin at: with a gradient, the last step must be due
  std::vector<bool, CachedAlloc<bool>> seen(static_cast<size_t>(parameter.dim(0)));
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = host_rows.data<int32_t>()[i], begin = host_from.data<int32_t>()[i];
    if (row < 0 || row >= parameter.dim(0))
      fail("adamw_rows: rows[{}] = {} is outside {} of shape {}", i, row, parameter.label(), parameter.shape().str());
    if (seen[static_cast<size_t>(row)])
      fail("adamw_rows: row {} of {} is there twice, the second time as rows[{}]", row, parameter.label(), i);
    seen[static_cast<size_t>(row)] = true;
    if (begin < 0 || begin > last)
      fail("adamw_rows: from[{}] = {} for row {} of {}; with {} steps{} it must be from 0 to {}", i, begin, row,
           parameter.label(), steps, gradient ? " and a gradient" : "", last);
  }
}

}  // namespace

void adamw(const Tensor& parameter, const Tensor& gradient, const Tensor& m, const Tensor& v, const AdamWStep& step) {
  check_moments(parameter, m, v);
  if (gradient.shape() != parameter.shape() || gradient.dtype() != parameter.dtype() ||
      gradient.device() != parameter.device())
    fail("adamw: {} is {} {}, but its gradient is {} {}{}", parameter.label(), parameter.shape().str(),
         name_of(parameter.dtype()), gradient.shape().str(), name_of(gradient.dtype()),
         gradient.device() == parameter.device() ? "" : ", on another device");
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
  check_rows(parameter, static_cast<int64_t>(rates.size()), rows, from, gradient);
  const int64_t n = rows.numel();
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
