// Products of sizes, for whoever allocates or compares by them: a product that does not fit is found before it is used.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace crisp {

/// The product of sizes; nullopt where one of them is negative or the product does not fit in 63 bits.
constexpr std::optional<int64_t> checked_product(std::integral auto... sizes) {
  int64_t product = 1;
  const auto multiply = [&product](auto size) {
    int64_t as_signed = 0;
    return !__builtin_add_overflow(size, 0, &as_signed) && as_signed >= 0 &&
           !__builtin_mul_overflow(product, as_signed, &product);
  };
  if (!(multiply(sizes) && ...)) return std::nullopt;
  return product;
}

}  // namespace crisp
