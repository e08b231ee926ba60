// The shape of a tensor: up to six dimensions, held in place.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace crisp {

class Shape {
 public:
  static constexpr int max_rank = 6;
  /// Of all dimensions together, empty ones counted as 1: products of some of them, sums of two such products and bytes
  /// (8 an element) then fit in 64 bits with a sign, and bytes in a pointer's.
  static constexpr int max_numel_log2 = 8 * sizeof(void*) - 5;
  static constexpr int64_t max_numel = int64_t{1} << max_numel_log2;

  Shape() = default;  // rank 0: a scalar
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  /// Throws Error for more than max_rank dimensions, a negative one, or more than max_numel elements.
  explicit Shape(std::span<const int64_t> dims);

  int rank() const { return rank_; }
  /// Dimension i; negative i counts from the last. Throws Error when out of range.
  int64_t operator[](int i) const {
    const int at = i < 0 ? i + rank_ : i;
    if (at < 0 || at >= rank_) fail_index(i);
    return dims_[static_cast<size_t>(at)];
  }
  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[static_cast<size_t>(i)];
    return n;
  }
  /// The product of all dimensions but the last: "rows" of a [.., dim] tensor. 1 for rank 0.
  int64_t rows() const;
  /// The last dimension; 1 for rank 0.
  int64_t last() const { return rank_ == 0 ? 1 : dims_[static_cast<size_t>(rank_ - 1)]; }
  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  /// This shape with dimension i (negative: from the last) set to n. Throws Error as the constructor does.
  Shape with(int i, int64_t n) const;
  /// "[37, 768]"
  std::string str() const;

  friend bool operator==(const Shape& a, const Shape& b) { return a.rank_ == b.rank_ && a.dims_ == b.dims_; }

 private:
  [[noreturn]] void fail_index(int i) const;

  std::array<int64_t, max_rank> dims_{};  // zero beyond rank_, so that == can compare it whole
  int rank_ = 0;
};

/// NumPy's broadcasting rule. Throws Error when the shapes do not fit; `what` names the operation.
Shape broadcast(const Shape& a, const Shape& b, const char* what);

}  // namespace crisp
