// A tensor: a value-semantic handle to contiguous row-major storage. Copying a Tensor copies the handle, not the data.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/device.h"
#include "engine/dtype.h"
#include "engine/host_memory.h"
#include "engine/random.h"
#include "engine/shape.h"

namespace crisp {

struct ScopeName;  // engine/scope.h
struct Storage;
struct TensorImpl;
class Gradient;
class GradTarget;
struct Integers;

class Tensor {
 public:
  /// The empty handle: no storage; `if (tensor)` is false.
  Tensor() = default;

  /// Uninitialised. This and all that makes tensors throws Error, naming shape and bytes, when memory runs out.
  static Tensor empty(const Shape& shape, DType dtype, Device device = Device::cpu);
  static Tensor full(const Shape& shape, DType dtype, double value, Device device = Device::cpu);
  static Tensor zeros(const Shape& shape, DType dtype, Device device = Device::cpu);
  static Tensor scalar(double value, DType dtype, Device device = Device::cpu) {
    return full({}, dtype, value, device);
  }
  /// From host values, converted to dtype. Throws Error when their number differs from the shape's.
  static Tensor from(std::span<const double> values, const Shape& shape, DType dtype, Device device = Device::cpu);
  static Tensor from(std::span<const int32_t> values, const Shape& shape, Device device = Device::cpu);
  /// Elements that lie in memory of somebody else's, on the CPU, as they are and without a copy: `elements` points to
  /// the first one, row-major, aligned for the type and no further (std::shared_ptr's aliasing constructor makes such a
  /// pointer of any owner). It is held until the last handle or view of the tensor goes. Writing to the tensor writes
  /// there. Throws Error where the pointer is misaligned, or null and there are elements.
  static Tensor from_blob(std::shared_ptr<void> elements, const Shape& shape, DType dtype);
  /// Normal numbers: element e is mean + deviation * normal(key, e), the same for every dtype up to rounding.
  static Tensor normal(const Shape& shape, DType dtype, const RandomKey& key, double mean = 0, double deviation = 1,
                       Device device = Device::cpu);

  explicit operator bool() const { return impl_ != nullptr; }
  /// False for a handle made by without_values().
  bool has_values() const { return storage_ != nullptr; }
  const Shape& shape() const;
  DType dtype() const;
  Device device() const;
  int64_t numel() const { return shape().numel(); }
  int rank() const { return shape().rank(); }
  int64_t dim(int i) const { return shape()[i]; }

  /// The elements, on the tensor's device. Throws Error when T is not the tensor's dtype. Do not change a saved tensor
  /// (engine/tape.h) before backward() has run: see copy_from().
  template <Element T>
  T* data() const {
    return static_cast<T*>(checked_data(dtype_of<T>));
  }
  void* raw() const;
  size_t bytes() const { return static_cast<size_t>(numel()) * size_of(dtype()); }

  /// Host round trips. item() needs exactly one element.
  double item() const;
  std::vector<double> to_vector() const;
  /// Same shape; converts dtype and moves between devices. As with every write in place (data()), the tape does not
  /// notice: changing a tensor between an operation that saved it and backward() gives a wrong gradient, without an
  /// error. Parameters are changed after backward(), or cloned first. The two may share elements.
  void copy_from(const Tensor& other) const;
  /// The tensor itself where nothing has to change. These, clone() and the views below are recorded on no tape, so a
  /// gradient would end at them: they throw Error for a tensor that requires one. detach() first takes it as a
  /// constant.
  Tensor to(DType dtype) const;
  Tensor to(Device device) const;
  Tensor clone() const;

  /// The same values as a constant: shares storage, requires no gradient, belongs to no tape. The way to use a result
  /// of one tape on another, or after clear().
  Tensor detach() const;

  /// The same tensor without a hold on its elements: shape, name and gradient work, data() throws Error. The elements
  /// live as long as some other handle has them. For backward functions that need no more than an input's gradient.
  Tensor without_values() const;

  /// Views that share storage (with a gradient: crisp::reshape, crisp::slice).
  Tensor view(const Shape& shape) const;
  Tensor view_rows(int64_t begin, int64_t count) const;  // of the leading dimension

  const std::string& name() const;
  const Tensor& set_name(std::string name) const;
  /// How error messages call it: its name, else the operation and scope that made it.
  std::string label() const;

  bool requires_grad() const;
  /// Throws Error for types without gradients, and where it would cut the gradient of a recorded result: detach() does.
  const Tensor& set_requires_grad(bool on = true) const;
  /// A copy of the accumulated gradient, of this tensor's shape whether or not it consists of rows; an empty handle
  /// where there is none: backward() leaves one in leaves (tensors that no recorded operation made), and in others that
  /// Tape::keep_grad() names. Looking changes nothing: set_grad() does.
  Tensor grad() const;
  /// The gradient itself.
  const Gradient& gradient() const;
  /// Makes a copy of `values` (same shape and dtype) the gradient: what a checkpoint restores. Throws Error for others,
  /// and where none is required.
  void set_grad(const Tensor& values) const;
  /// Makes `values` [n, dim] the gradient of these rows, n of them, increasing, of a table that takes it so. All on
  /// the table's device.
  void set_grad_rows(std::shared_ptr<const Integers> rows, const Tensor& values) const;
  /// Forgets the gradient and gives its memory back, for activations and the next gradients to use.
  void clear_grad() const;
  /// Where a backward function accumulates this tensor's gradient: false where nobody needs it. Throws Error for a
  /// table that takes it as rows.
  GradTarget grad_target() const;

  /// A view of all `parts`, one under the other, where their elements lie so in one storage; else an empty handle. As
  /// every view it is recorded on no tape.
  static Tensor joined(std::span<const Tensor> parts);
  /// Makes the gradients of `parts`, which need one, lie one behind the other in one storage, for kernels that write
  /// them all at once. What is there stays what it is.
  static void join_gradients(std::span<const Tensor> parts);

  /// Makes this leaf, a table [rows, dim], take its gradient as the rows that were used: an array of the table's size
  /// is never made. Only embedding() and embeddings_layer_norm() can use it then.
  const Tensor& take_grad_by_rows() const;

  bool same_as(const Tensor& other) const { return impl_ == other.impl_; }
  /// Shape, dtype, device, name and up to `limit` values a dimension, for people.
  std::string str(int64_t limit = 6) const;

 private:
  friend class GradTarget;
  friend class Tape;
  void* checked_data(DType wanted) const;
  void refuse_to_cut(const char* what) const;
  Tensor view_of_all(const Shape& shape) const;
  TensorImpl& impl() const;
  static Tensor make(const Shape& shape, DType dtype, Device device, bool zeroed);
  std::shared_ptr<TensorImpl> impl_;
  std::shared_ptr<Storage> storage_;  // the elements; null in a handle without values
};

/// Whole numbers that the host made and keeps, and their copy where kernels read them.
struct Integers {
  std::vector<int32_t, CachedAlloc<int32_t>> host;  // a training step asks the system for nothing
  Tensor device;                                    // i32 [n], after upload() (engine/plan.h)

  int64_t size() const { return std::ssize(host); }
  /// Whether each is larger than the one before, and all are in 0 .. limit - 1: rows of a table, each once.
  bool increase_below(int64_t limit) const;
};

/// What has been accumulated for a tensor. It is there from the moment that its first contribution is written whole,
/// until clear_grad().
class Gradient {
 public:
  explicit operator bool() const { return present_; }
  /// Whether it is that of some rows of a table, and 0 in all others.
  bool by_rows() const { return by_rows_; }
  /// The elements: of the tensor's shape, or by rows [n, dim].
  const Tensor& values() const { return values_; }
  /// By rows, and there: which they are, increasing.
  const Integers& rows() const { return *rows_; }
  /// f64, one element: the sum of squares, where the operation that wrote the gradient last has formed it on the way.
  /// Else an empty handle.
  const Tensor& sum_squares() const { return sum_squares_; }

 private:
  friend class Tensor;
  friend class GradTarget;
  bool present_ = false, by_rows_ = false;
  uint64_t written_ = 0;  // passes_ended() of the device when it was
  std::shared_ptr<const Integers> rows_;
  Tensor values_, sum_squares_;
};

/// A place where a contribution is accumulated at once: gradient = contribution + beta * gradient. beta = 0 is for the
/// first one, which overwrites, so that nobody has to write zeros before or reads them; beta = 1 adds. The gradient is
/// there when this object goes. Where an exception ends the writing, it is forgotten: nobody can tell how much of it
/// has been written.
class GradTarget {
 public:
  GradTarget() = default;
  GradTarget(Tensor place, double beta_of_it) : tensor(std::move(place)), beta(beta_of_it) {}
  GradTarget(GradTarget&&) noexcept = default;
  GradTarget& operator=(GradTarget&&) = delete;
  ~GradTarget();

  Tensor tensor;
  double beta = 0;
  explicit operator bool() const { return static_cast<bool>(tensor); }
  /// The elements, or null where no gradient is wanted.
  template <Element T>
  T* data() const {
    return tensor ? tensor.data<T>() : nullptr;
  }
  /// f64, one element on the device: whoever asks for it writes the sum of squares of what is there afterwards to it.
  /// An empty handle where products of the device do not form such sums.
  const Tensor& sum_squares() const;

 private:
  friend class Tensor;
  Tensor owner_;  // whose gradient it is, if it is a tensor's
  mutable Tensor sum_squares_;
  int exceptions_ = std::uncaught_exceptions();
};

[[noreturn]] void fail_storage_only(const Tensor& x);

/// Calls f.template operator()<T>() with T = float or double, the tensor's compute type. Throws Error for storage-only
/// types.
template <class F>
decltype(auto) with_type(const Tensor& x, F&& f) {
  switch (x.dtype()) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::f64:
      return f.template operator()<double>();
    default:
      fail_storage_only(x);
  }
}

}  // namespace crisp
