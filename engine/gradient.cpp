// A tensor's gradient: where it is accumulated, looked at, put back and forgotten.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "engine/backend.h"
#include "engine/fail.h"
#include "engine/host_memory.h"
#include "engine/plan.h"
#include "engine/tensor.h"
#include "engine/tensor_impl.h"

namespace crisp {
namespace {

// A gradient of rows as one of the whole table.
Tensor dense(const Gradient& gradient, const Shape& shape) {
  const Tensor all = Tensor::zeros(shape, gradient.values().dtype(), gradient.values().device());
  for (int64_t i = 0; const int32_t row : gradient.rows().host)
    all.view_rows(row, 1).copy_from(gradient.values().view_rows(i++, 1));
  return all;
}

// The rows in which something is not 0. A row of zeros is no different from one that is not there.
Integers rows_of(const Tensor& all) {
  const Tensor host = all.to(Device::cpu);
  Integers rows;
  for (int64_t r = 0; r < host.dim(0); ++r) {
    const std::vector<double> row = host.view_rows(r, 1).to_vector();
    if (std::any_of(row.begin(), row.end(), [](double x) { return x != 0; }))
      rows.host.push_back(static_cast<int32_t>(r));
  }
  return rows;
}

}  // namespace

std::atomic<uint64_t>& passes_ended(Device device) {
  static std::array<std::atomic<uint64_t>, 256> counts{};
  return counts[static_cast<uint8_t>(device)];
}

Tensor Tensor::grad() const {
  const Gradient& g = gradient();
  if (!g) return {};
  return g.by_rows() ? dense(g, shape()) : g.values().clone();
}

const Gradient& Tensor::gradient() const { return impl().gradient; }

void Tensor::set_grad(const Tensor& values) const {
  if (!requires_grad()) fail("{} requires no gradient", label());
  if (values.shape() != shape() || values.dtype() != dtype())
    fail("the gradient of {} is {} {}, not {} {}", label(), shape().str(), name_of(dtype()), values.shape().str(),
         name_of(values.dtype()));
  if (gradient().by_rows()) {
    const auto rows = std::make_shared<Integers>(rows_of(values));
    const Tensor some = empty({rows->size(), dim(1)}, dtype(), device());
    for (int64_t i = 0; const int32_t row : rows->host)
      some.view_rows(i++, 1).copy_from(values.detach().view_rows(row, 1));
    upload_integers(device(), std::array{rows.get()});
    set_grad_rows(rows, some);
  } else {
    const Tensor copy = values.detach().clone().to(device());
    clear_grad();
    impl().gradient.values_ = copy;
    impl().gradient.present_ = true;
  }
}

void Tensor::set_grad_rows(std::shared_ptr<const Integers> rows, const Tensor& values) const {
  Gradient& g = impl().gradient;
  if (!g.by_rows_) fail("{} does not take its gradient as rows", label());
  if (!rows || !values || values.dtype() != dtype() || values.shape() != Shape{rows->size(), dim(1)})
    fail("the gradient of {} by rows needs as many values {} [n, {}]", label(), name_of(dtype()), dim(1));
  if (values.device() != device() || !rows->device || rows->device.device() != device())
    fail("the gradient of {} by rows must be on the {}, its rows, too", label(), name_of(device()));
  if (!rows->increase_below(dim(0)))
    fail("the rows of the gradient of {} must increase, within its {} rows", label(), dim(0));
  g.rows_ = std::move(rows);
  g.values_ = values;
  g.sum_squares_ = {};
  g.present_ = true;
}

void Tensor::clear_grad() const {
  Gradient& g = impl().gradient;
  if (!g.values_) return;
  g.present_ = false;
  g.rows_ = {};
  g.values_ = g.sum_squares_ = {};
}

GradTarget::~GradTarget() {
  if (!owner_) return;
  if (std::uncaught_exceptions() > exceptions_) {
    owner_.clear_grad();
  } else {
    Gradient& g = owner_.impl().gradient;
    g.present_ = true;
    g.written_ = passes_ended(owner_.device());
    g.sum_squares_ = std::move(sum_squares_);
  }
}

const Tensor& GradTarget::sum_squares() const {
  if (!sum_squares_ && backend(tensor.device()).products_form_squares)
    sum_squares_ = Tensor::empty({}, DType::f64, tensor.device());
  return sum_squares_;
}

GradTarget Tensor::grad_target() const {
  if (!requires_grad()) return {};
  Gradient& g = impl().gradient;
  if (g.by_rows_)
    fail("{} takes its gradient as rows, from embedding() and embeddings_layer_norm() only: see take_grad_by_rows()",
         label());
  if (!g.values_) g.values_ = empty(shape(), dtype(), device());
  // What this pass has written may be at work.
  if (g.present_ && g.written_ == passes_ended(device())) backend(device()).join();
  GradTarget target{g.values_, g.present_ ? 1.0 : 0.0};
  target.owner_ = without_values();
  return target;
}

void Tensor::join_gradients(std::span<const Tensor> parts) {
  std::vector<Tensor, CachedAlloc<Tensor>> places;
  places.reserve(parts.size());
  int64_t rows = 0;
  for (const Tensor& part : parts) {
    if (part.rank() < 1 || !part.requires_grad() || part.gradient().by_rows())
      fail("the gradient of {} cannot be joined with others", part.label());
    places.push_back(part.gradient().values_);
    rows += part.dim(0);
  }
  if (joined(places)) return;
  const Tensor all = empty(parts[0].shape().with(0, rows), parts[0].dtype(), parts[0].device());
  rows = 0;
  for (const Tensor& part : parts) {
    Gradient& g = part.impl().gradient;
    const Tensor place = all.view_rows(rows, part.dim(0));
    if (g.present_) place.copy_from(g.values_);
    g.values_ = place;
    rows += part.dim(0);
  }
}

const Tensor& Tensor::take_grad_by_rows() const {
  if (!impl().leaf || rank() != 2)
    fail("{} of shape {} cannot take its gradient as rows: that is for leaves of two dimensions", label(),
         shape().str());
  clear_grad();
  impl().gradient.by_rows_ = true;
  return *this;
}

}  // namespace crisp
