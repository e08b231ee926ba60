// The numbers of a file's tensors, read in pieces: statistics of one, differences of two.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "weights/safetensors.h"

namespace crisp::inspect {

/// Floats that the engine loads, whole numbers, and BOOL as 0 and 1; no 8-bit floats, none that are packed or complex.
bool has_numbers(SafeDType dtype);

/// Elements [first, first + out.size()) of a tensor that has numbers; 64-bit whole numbers are rounded.
void read_numbers(const SafetensorsFile& file, const TensorEntry& tensor, uint64_t first, std::span<double> out);

/// min, max, mean and standard deviation are those of the finite values (NaN where there is none), summed in f64.
struct TensorStatistics {
  uint64_t finite = 0, nan = 0, infinite = 0;  // how many
  double min = std::numeric_limits<double>::quiet_NaN(), max = min, mean = min;
  double deviation = min;                               // over all of them, with 1 / n, as numpy's std
  uint64_t at_min = 0, at_max = 0;                      // the first such element
  std::optional<uint64_t> at_not_finite = std::nullopt; /* the first */
};
/// Of a tensor that has numbers.
TensorStatistics statistics_of(const SafetensorsFile& file, const TensorEntry& tensor);

/// Of two tensors of one shape, as numbers: their dtypes may differ, 0 and -0 are equal, and so are NaN and NaN.
struct TensorDifference {
  uint64_t differing = 0;  // elements
  double largest = 0;      // |a - b|; infinite where one of the two is not finite
  uint64_t at = 0;         // the first element with it
  double a = 0, b = 0;     // its values
  double relative_l2 = 0;  // |a - b| / |b| in the L2 norm, over elements that are finite in both; infinite for b = 0
};
/// Both have numbers.
TensorDifference difference_of(const SafetensorsFile& a, const TensorEntry& in_a, const SafetensorsFile& b,
                               const TensorEntry& in_b);

/// Whether two tensors of one dtype and shape are the same bytes.
bool same_bytes(const SafetensorsFile& a, const TensorEntry& in_a, const SafetensorsFile& b, const TensorEntry& in_b);

/// The indices of an element of a tensor, "[3, 17]" with shape_string; empty for rank 0.
std::vector<uint64_t> indices_of(uint64_t element, std::span<const uint64_t> shape);

/// A number of a tensor of this dtype, with as many digits as tell it from others; "nan", "inf", "-inf".
std::string number_text(double x, SafeDType dtype);

}  // namespace crisp::inspect
