// The matrix products of a linear layer, as the kernels see them.
#pragma once

#include <cstdint>

#include "engine/context.h"
#include "engine/tensor.h"
#include "tools/bench/timing.h"

namespace crisp::bench {

/// Forward: y = x W'. dX = dY W. dW = dY' X.
enum class Pass : uint8_t { forward, dx, dw };
constexpr Pass passes[] = {Pass::forward, Pass::dx, Pass::dw};
const char* name_of(Pass pass);

/// The layers of a transformer block and how often each occurs in it: queries, keys, values and output; the two of the
/// feed-forward part.
struct LinearShape {
  int64_t in, out;
  int count;
};
constexpr LinearShape distilbert_shapes[] = {{768, 768, 4}, {768, 3072, 1}, {3072, 768, 1}};

/// Floating-point operations of any pass.
inline double flops_of(const LinearShape& s, int64_t rows) {
  return 2 * static_cast<double>(rows) * static_cast<double>(s.in) * static_cast<double>(s.out);
}

/// Times one pass over `rows` rows in the type of numbers that is given.
Spread time_product(const LinearShape& shape, int64_t rows, Pass pass, DType dtype, const Context& context,
                    Device device, const Effort& effort);

}  // namespace crisp::bench
