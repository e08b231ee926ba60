// Tensors that a command has computed, in a file for other programs.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/dtype.h"
#include "engine/shape.h"

namespace crisp::inspect {

struct NamedValues {
  std::string name;
  Shape shape;
  std::vector<double> values;
};

/// Whether a name ends with .npy, which holds one tensor, or .safetensors. Throws UsageError, naming `option`, for
/// another one.
bool is_npy(const std::string& option, const std::string& path);
/// Writes them in `dtype`, f64 or f32, whole or not at all, and says so. Throws UsageError for several in a .npy.
void write_values(const std::string& path, std::span<const NamedValues> tensors, DType dtype);

/// The bytes of a .npy file (numpy.lib.format, version 1.0), little-endian and row-major: f64, or f32, to which the
/// values are rounded then. Throws Error for another dtype, or where `values` are not as many as the shape has.
std::string npy_bytes(std::span<const double> values, const Shape& shape, DType dtype);

}  // namespace crisp::inspect
