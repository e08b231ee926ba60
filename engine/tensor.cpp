#include "engine/tensor.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>

#include "engine/backend.h"
#include "engine/fail.h"
#include "engine/host_memory.h"
#include "engine/plan.h"
#include "engine/scope.h"
#include "engine/tensor_impl.h"

namespace crisp {
namespace {

double load(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::f64:
      return static_cast<const double*>(data)[i];
    case DType::f32:
      return static_cast<const float*>(data)[i];
    case DType::bf16:
      return to_float(static_cast<const BFloat16*>(data)[i]);
    case DType::f16:
      return to_float(static_cast<const Float16*>(data)[i]);
    case DType::i32:
      return static_cast<const int32_t*>(data)[i];
  }
  return 0;
}

void store(void* data, DType dtype, int64_t i, double value) {
  switch (dtype) {
    case DType::f64:
      static_cast<double*>(data)[i] = value;
      break;
    case DType::f32:
      static_cast<float*>(data)[i] = static_cast<float>(value);
      break;
    case DType::bf16:
      static_cast<BFloat16*>(data)[i] = to_bfloat16(static_cast<float>(value));
      break;
    case DType::f16:
      static_cast<Float16*>(data)[i] = to_float16(static_cast<float>(value));
      break;
    case DType::i32:
      if (!(value > -2147483649.0 && value < 2147483648.0)) fail("{} does not fit into i32", value);
      static_cast<int32_t*>(data)[i] = static_cast<int32_t>(value);
      break;
  }
}

// Fills a new tensor from f(i), through host memory where the device is another.
template <class F>
Tensor filled(const Shape& shape, DType dtype, Device device, F&& f) {
  const Tensor host = Tensor::empty(shape, dtype);
  for (int64_t i = 0, n = host.numel(); i < n; ++i) store(host.raw(), dtype, i, f(i));
  return device == Device::cpu ? host : host.to(device);
}

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

Storage::Storage(size_t bytes, Device where, bool zeroed)
    : device(where),
      data((zeroed ? backend(where).allocate_zeroed : backend(where).allocate)(std::max<size_t>(bytes, 1))) {}
Storage::~Storage() { backend(device).free(data); }

Tensor Tensor::make(const Shape& shape, DType dtype, Device device, bool zeroed) {
  Tensor t;
  t.impl_ = std::allocate_shared<TensorImpl>(CachedAlloc<TensorImpl>());
  t.impl_->shape = shape;
  t.impl_->dtype = dtype;
  t.impl_->device = device;
  try {
    t.storage_ = std::allocate_shared<Storage>(CachedAlloc<Storage>(), t.bytes(), device, zeroed);
  } catch (const Error& error) {
    fail("{}\nIt was for a tensor of shape {} ({}): {} bytes", error.what(), shape.str(), name_of(dtype), t.bytes());
  }
  return t;
}

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) { return make(shape, dtype, device, false); }
Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) { return make(shape, dtype, device, true); }

Tensor Tensor::full(const Shape& shape, DType dtype, double value, Device device) {
  return filled(shape, dtype, device, [&](int64_t) { return value; });
}

Tensor Tensor::from(std::span<const double> values, const Shape& shape, DType dtype, Device device) {
  if (static_cast<int64_t>(values.size()) != shape.numel())
    fail("{} values do not fill a tensor of shape {}", values.size(), shape.str());
  return filled(shape, dtype, device, [&](int64_t i) { return values[static_cast<size_t>(i)]; });
}

Tensor Tensor::from(std::span<const int32_t> values, const Shape& shape, Device device) {
  if (static_cast<int64_t>(values.size()) != shape.numel())
    fail("{} values do not fill a tensor of shape {}", values.size(), shape.str());
  const Tensor t = empty(shape, DType::i32, device);
  if (!values.empty()) copy_bytes(t.raw(), device, values.data(), Device::cpu, t.bytes());
  return t;
}

Tensor Tensor::normal(const Shape& shape, DType dtype, const RandomKey& key, double mean, double deviation,
                      Device device) {
  return filled(shape, dtype, device,
                [&](int64_t i) { return mean + deviation * crisp::normal(key, static_cast<uint64_t>(i)); });
}

TensorImpl& Tensor::impl() const {
  if (!impl_) fail("an empty tensor was used where one with data is needed");
  return *impl_;
}

const Shape& Tensor::shape() const { return impl().shape; }
DType Tensor::dtype() const { return impl().dtype; }
Device Tensor::device() const { return impl().device; }

void* Tensor::raw() const {
  const size_t offset = impl().byte_offset;
  if (!storage_) fail("the elements of {} are not kept: this handle was made without them", label());
  return static_cast<char*>(storage_->data) + offset;
}

void* Tensor::checked_data(DType wanted) const {
  if (dtype() != wanted) fail("{} holds {}, not {}", label(), name_of(dtype()), name_of(wanted));
  return raw();
}

double Tensor::item() const {
  if (numel() != 1) fail("item() needs a tensor of one element; {} has shape {}", label(), shape().str());
  const Tensor host = detach().to(Device::cpu);
  return load(host.raw(), dtype(), 0);
}

std::vector<double> Tensor::to_vector() const {
  const Tensor host = detach().to(Device::cpu);
  std::vector<double> values(static_cast<size_t>(numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = load(host.raw(), dtype(), static_cast<int64_t>(i));
  return values;
}

void Tensor::copy_from(const Tensor& other) const {
  if (shape() != other.shape())
    fail("cannot copy {} of shape {} into {} of shape {}", other.label(), other.shape().str(), label(), shape().str());
  const Tensor same_type = other.detach().to(dtype());
  copy_bytes(raw(), device(), same_type.raw(), same_type.device(), bytes());
}

void Tensor::refuse_to_cut(const char* what) const {
  if (requires_grad())
    fail("{} of {} would cut its gradient: record an operation, or take it as a constant with detach()", what, label());
}

Tensor Tensor::to(DType wanted) const {
  if (dtype() == wanted) return *this;
  refuse_to_cut("to()");
  const Tensor host = to(Device::cpu);
  return filled(shape(), wanted, device(), [&](int64_t i) { return load(host.raw(), dtype(), i); });
}

Tensor Tensor::to(Device wanted) const {
  if (device() == wanted) return *this;
  refuse_to_cut("to()");
  const Tensor copy = empty(shape(), dtype(), wanted);
  copy_bytes(copy.raw(), wanted, raw(), device(), bytes());
  return copy;
}

Tensor Tensor::clone() const {
  refuse_to_cut("clone()");
  const Tensor copy = empty(shape(), dtype(), device());
  copy.copy_from(*this);
  return copy;
}

Tensor Tensor::view(const Shape& wanted) const {
  refuse_to_cut("view()");
  if (wanted.numel() != numel()) fail("{} of shape {} cannot be viewed as {}", label(), shape().str(), wanted.str());
  return view_of_all(wanted);
}

Tensor Tensor::view_of_all(const Shape& wanted) const {
  Tensor t;
  t.impl_ = std::allocate_shared<TensorImpl>(CachedAlloc<TensorImpl>());
  t.impl_->shape = wanted;
  t.impl_->dtype = dtype();
  t.impl_->device = device();
  t.impl_->byte_offset = impl().byte_offset;
  t.storage_ = storage_;
  return t;
}

Tensor Tensor::view_rows(int64_t begin, int64_t count) const {
  refuse_to_cut("view_rows()");
  const int64_t n = dim(0);
  if (begin < 0 || count < 0 || begin > n - count)
    fail("rows {}..{} are outside {} of shape {}", begin, begin + count, label(), shape().str());
  const Tensor t = view(shape());
  t.impl_->shape = shape().with(0, count);
  t.impl_->byte_offset += static_cast<size_t>(begin * (n == 0 ? 0 : numel() / n)) * size_of(dtype());
  return t;
}

Tensor Tensor::without_values() const {
  Tensor t;
  t.impl_ = impl_;
  return t;
}

Tensor Tensor::detach() const {
  const Tensor t = view_of_all(shape());
  t.impl_->name = impl().name;
  t.impl_->made_by = impl().made_by;
  t.impl_->scope = impl().scope;
  return t;
}

const std::string& Tensor::name() const { return impl().name; }

const Tensor& Tensor::set_name(std::string name) const {
  impl().name = std::move(name);
  return *this;
}

std::string Tensor::label() const {
  if (!impl_) return "(empty tensor)";
  if (!impl_->name.empty()) return "\"" + impl_->name + "\"";
  if (!impl_->made_by) return "(unnamed tensor)";
  const std::string path = impl_->scope ? impl_->scope->path() : "";
  return fmt::format("\"{}{}{}\"", path, path.empty() ? "" : " > ", impl_->made_by);
}

bool Tensor::requires_grad() const { return impl_ && impl_->requires_grad; }

const Tensor& Tensor::set_requires_grad(bool on) const {
  if (on && dtype() != DType::f32 && dtype() != DType::f64)
    fail("{} is a {} tensor: only f32 and f64 have gradients", label(), name_of(dtype()));
  if (!on && impl().recording != 0)
    fail("set_requires_grad(false) of {} would cut its gradient: take it as a constant with detach()", label());
  // A result that no tape recorded (of inference, or of constants) becomes a leaf.
  if (on && !requires_grad() && impl().recording == 0) impl().leaf = true;
  impl().requires_grad = on;
  return *this;
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

bool Integers::increase_below(int64_t limit) const {
  return host.empty() ||
         (host.front() >= 0 && host.back() < limit && std::is_sorted(host.begin(), host.end(), std::less_equal<>()));
}

GradTarget::~GradTarget() {
  if (!owner_) return;
  if (std::uncaught_exceptions() > exceptions_) {
    owner_.clear_grad();
  } else {
    Gradient& g = owner_.impl().gradient;
    g.present_ = true;
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
  if (g.present_) backend(device()).join();  // what is there may be at work
  GradTarget target{g.values_, g.present_ ? 1.0 : 0.0};
  target.owner_ = without_values();
  return target;
}

Tensor Tensor::joined(std::span<const Tensor> parts) {
  if (parts.empty() || !parts[0] || !parts[0].has_values()) return {};
  const Tensor& first = parts[0];
  size_t end = first.impl().byte_offset;
  int64_t rows = 0;
  for (const Tensor& part : parts) {
    if (!part || part.rank() < 1 || part.storage_ != first.storage_ || part.impl().byte_offset != end ||
        part.dtype() != first.dtype() || part.shape().with(0, 1) != first.shape().with(0, 1))
      return {};
    end += part.bytes();
    rows += part.dim(0);
  }
  const Tensor all = first.view_of_all(first.shape());
  all.impl().shape = first.shape().with(0, rows);
  return all;
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

std::string Tensor::str(int64_t limit) const {
  if (!impl_) return "(empty tensor)";
  std::string text =
      fmt::format("{} {} {} {}", shape().str(), name_of(dtype()), name_of(device()), name().empty() ? "" : label());
  const std::vector<double> values = to_vector();
  const int64_t cols = shape().last();
  const int64_t rows = cols == 0 ? 0 : numel() / cols;
  for (int64_t r = 0; r < std::min(rows, limit); ++r) {
    text += "\n  ";
    for (int64_t c = 0; c < std::min(cols, limit); ++c)
      text += fmt::format("{:>12.{}g}", values[static_cast<size_t>(r * cols + c)], dtype() == DType::i32 ? 10 : 5);
    if (cols > limit) text += " ...";
  }
  if (rows > limit) text += "\n  ...";
  return text;
}

void fail_storage_only(const Tensor& x) {
  fail("{} is a {} tensor: operations compute in f32 or f64", x.label(), name_of(x.dtype()));
}

}  // namespace crisp
