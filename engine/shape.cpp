#include "engine/shape.h"

#include <algorithm>

#include "engine/checked.h"
#include "engine/fail.h"

namespace crisp {

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  if (dims.size() > max_rank) fail("a shape has at most {} dimensions, not {}", int{max_rank}, dims.size());
  int64_t n = 1;
  bool too_many = false;  // told when all dimensions are there to be shown
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] < 0) fail("a dimension cannot be negative: {}", dims[i]);
    dims_[i] = dims[i];
    const std::optional<int64_t> product = checked_product(n, std::max<int64_t>(dims[i], 1));
    n = product.value_or(max_numel + 1);
    too_many |= n > max_numel;
  }
  if (too_many)
    fail("shape {} has more than 2^{} elements: their bytes could not be counted", str(), int{max_numel_log2});
}

void Shape::fail_index(int i) const { fail("dimension {} of a shape with {}: {}", i, rank_, str()); }

int64_t Shape::rows() const {
  int64_t n = 1;
  for (int i = 0; i + 1 < rank_; ++i) n *= dims_[static_cast<size_t>(i)];
  return n;
}

Shape Shape::with(int i, int64_t n) const {
  (void)(*this)[i];  // range check
  std::array<int64_t, max_rank> changed = dims_;
  changed[static_cast<size_t>(i < 0 ? i + rank_ : i)] = n;
  return Shape(std::span<const int64_t>(changed).first(static_cast<size_t>(rank_)));
}

std::string Shape::str() const {
  std::string s = "[";
  for (int i = 0; i < rank_; ++i) s += fmt::format("{}{}", i ? ", " : "", dims_[static_cast<size_t>(i)]);
  return s + "]";
}

Shape broadcast(const Shape& a, const Shape& b, const char* what) {
  std::array<int64_t, Shape::max_rank> dims{};
  const int rank = std::max(a.rank(), b.rank());
  for (int i = 1; i <= rank; ++i) {
    const int64_t x = i <= a.rank() ? a[-i] : 1;
    const int64_t y = i <= b.rank() ? b[-i] : 1;
    if (x != y && x != 1 && y != 1) fail("{}: shapes {} and {} do not broadcast", what, a.str(), b.str());
    dims[static_cast<size_t>(rank - i)] = x == 1 ? y : x;
  }
  return Shape(std::span<const int64_t>(dims.data(), static_cast<size_t>(rank)));
}

}  // namespace crisp
