#include "engine/tensor.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "engine/backend.h"
#include "engine/fail.h"
#include "engine/host_memory.h"
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

}  // namespace

Storage::Storage(size_t bytes, Device where, bool zeroed)
    : device(where),
      data((zeroed ? backend(where).allocate_zeroed : backend(where).allocate)(std::max<size_t>(bytes, 1))) {}
Storage::Storage(std::shared_ptr<void> elements)
    : device(Device::cpu), data(elements.get()), blob(std::move(elements)) {}
Storage::~Storage() {
  if (!blob) backend(device).free(data);
}

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

Tensor Tensor::from_blob(std::shared_ptr<void> elements, const Shape& shape, DType dtype) {
  if (!elements && shape.numel() == 0) return empty(shape, dtype);
  if (!elements || reinterpret_cast<uintptr_t>(elements.get()) % size_of(dtype) != 0)
    fail("elements at {} cannot be a tensor's of shape {} ({}): null, or not aligned", elements.get(), shape.str(),
         name_of(dtype));
  Tensor t;
  t.impl_ = std::allocate_shared<TensorImpl>(CachedAlloc<TensorImpl>());
  t.impl_->shape = shape;
  t.impl_->dtype = dtype;
  t.storage_ = std::allocate_shared<Storage>(CachedAlloc<Storage>(), std::move(elements));
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

bool Integers::increase_below(int64_t limit) const {
  return host.empty() ||
         (host.front() >= 0 && host.back() < limit && std::is_sorted(host.begin(), host.end(), std::less_equal<>()));
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
