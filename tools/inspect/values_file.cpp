#include "tools/inspect/values_file.h"

#include <fmt/format.h>

#include <bit>
#include <cstdint>

#include "data/input/text.h"
#include "engine/fail.h"
#include "tools/inspect/output.h"
#include "weights/safetensors.h"

namespace crisp::inspect {
namespace {

static_assert(std::endian::native == std::endian::little);

// A tuple as Python writes it: "()", "(3,)", "(3, 4)".
std::string tuple(const Shape& shape) {
  std::string text = "(";
  for (int d = 0; d < shape.rank(); ++d) text += fmt::format("{}{}", d > 0 ? ", " : "", shape[d]);
  return text + (shape.rank() == 1 ? ",)" : ")");
}

}  // namespace

bool is_npy(const std::string& option, const std::string& path) {
  if (path.ends_with(".npy")) return true;
  if (!path.ends_with(".safetensors"))
    fail<UsageError>("{} {}: the name must end with .npy or .safetensors", option, printable(path));
  return false;
}

void write_values(const std::string& path, std::span<const NamedValues> tensors, DType dtype) {
  if (is_npy("file", path)) {
    if (tensors.size() != 1)
      fail<UsageError>(
          "--output {}: a .npy holds one tensor, these are {}; write a .safetensors, or choose one by --of",
          printable(path), tensors.size());
    return write_output(path, npy_bytes(tensors[0].values, tensors[0].shape, dtype));
  }
  std::vector<TensorToWrite> list;
  for (const NamedValues& t : tensors) {
    const auto dims = t.shape.dims();
    list.push_back({t.name, safe_dtype(dtype), {dims.begin(), dims.end()}, std::span<const double>(t.values)});
  }
  write_safetensors(path, list);
  say_written(path);
}

std::string npy_bytes(std::span<const double> values, const Shape& shape, DType dtype) {
  if (dtype != DType::f64 && dtype != DType::f32) fail("npy: {} is neither f64 nor f32", name_of(dtype));
  if (std::ssize(values) != shape.numel()) fail("npy: {} values for shape {}", values.size(), shape.str());
  std::string header = fmt::format("{{'descr': '<f{}', 'fortran_order': False, 'shape': {}, }}",
                                   dtype == DType::f64 ? 8 : 4, tuple(shape));
  // With what stands before it (6 bytes of magic, 2 of version, 2 of its length) and its line end a multiple of 64.
  header.append((64 - (10 + header.size() + 1) % 64) % 64, ' ');
  header += '\n';
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 0xFF);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  const auto append = [&](const auto& numbers) {
    bytes.append(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof numbers[0]);
  };
  if (dtype == DType::f64)
    append(values);
  else
    append(std::vector<float>(values.begin(), values.end()));
  return bytes;
}

}  // namespace crisp::inspect
