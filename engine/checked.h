// Sizes that do not fit are found before anything is allocated, compared or numbered by them.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "engine/error.h"

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

/// A count as the i32 numbers that batches are made of. Throws Error, "3000000000 tokens in one batch: at most
/// 2147483647 can be numbered", for more.
inline int32_t checked_int32(size_t count, const char* of_what) {
  constexpr int32_t most = std::numeric_limits<int32_t>::max();
  if (count > static_cast<size_t>(most))
    throw Error(std::to_string(count) + " " + of_what + ": at most " + std::to_string(most) + " can be numbered");
  return static_cast<int32_t>(count);
}

}  // namespace crisp
