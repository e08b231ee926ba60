// What an optimizer step needs, outside of any tape: the AdamW update, the sum of squares for the gradient norm, and
// the search for values that are not finite.
#include <utility>
#include <vector>

#include "engine/allocator.h"
#include "engine/error.h"
#include "engine/op.h"
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
  run(Context::standard(), parameter,
      [&](auto k) { k->adamw(parameter.numel(), step, k(gradient), k(parameter), k(m), k(v)); });
}

void adamw_rows(const Tensor& parameter, const Tensor& m, const Tensor& v, const AdamWStep& step,
                std::span<const AdamWRates> rates, const Tensor& rows, const Tensor& from, const Tensor& gradient) {
  const auto steps = static_cast<int64_t>(rates.size());
  check_moments(parameter, m, v);
  check_rows(parameter, steps, rows, from, gradient);
  run(Context::standard(), parameter, [&](auto k) {
    k->adamw_rows(rows.numel(), parameter.dim(1), step, rates.data(), steps, k.ids(rows), k.ids(from), k(gradient),
                  k(parameter), k(m), k(v));
  });
}

double sum_squares(const Tensor& x) {
  const Tensor sum = Tensor::empty({}, DType::f64, x.device());
  run(Context::standard(), x, [&](auto k) { k->sum_squares(x.numel(), k(x), k.f64(sum)); });
  return sum.item();
}

double sum_squares(const RowGradient& gradient) {
  const int64_t n = gradient.values.dim(0), dim = gradient.values.dim(1);
  const Tensor sums = Tensor::empty({n}, DType::f64, gradient.values.device());
  run(Context::standard(), gradient.values, [&](auto k) {
    for (int64_t r = 0; r < n; ++r) k->sum_squares(dim, k(gradient.values) + r * dim, k.f64(sums) + r);
  });
  const Tensor host = sums.to(Device::cpu);
  double sum = 0;
  for (int64_t r = 0; r < n; ++r) sum += host.data<double>()[r];
  return sum;
}

bool all_finite(const Tensor& x) {
  const Tensor finite = Tensor::empty({}, DType::i32, x.device());
  run(Context::standard(), x, [&](auto k) { k->all_finite(x.numel(), k(x), k.ids(finite)); });
  return finite.item() != 0;
}

}  // namespace crisp
