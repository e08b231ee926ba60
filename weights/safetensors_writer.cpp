#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>
#include <set>
#include <type_traits>

#include "data/input/text.h"
#include "engine/bit_cast.h"
#include "engine/fail.h"
#include "weights/atomic_file.h"
#include "weights/safetensors.h"
#include "weights/safetensors_header.h"

namespace crisp {
namespace {

float narrow(float x) { return x; }

// Rounds to odd: towards zero, and the last bit set when that was inexact. A further rounding to 16 bits, which has at
// least two bits less, then gives the same as rounding the double itself (Boldo and Melquiond, 2008).
float narrow(double x) {
  const float nearest = static_cast<float>(x);
  if (static_cast<double>(nearest) == x || std::isnan(x)) return nearest;
  auto bits = bit_cast<uint32_t>(nearest);
  if (std::abs(static_cast<double>(nearest)) > std::abs(x)) --bits;
  return bit_cast<float>(bits | 1u);
}

template <class Stored, class T>
Stored convert(T x) {
  if constexpr (std::is_same_v<Stored, BFloat16>) {
    return to_bfloat16(narrow(x));
  } else if constexpr (std::is_same_v<Stored, Float16>) {
    return to_float16(narrow(x));
  } else {
    return static_cast<Stored>(x);
  }
}

template <class Stored, class T>
void write_as(const ByteSink& sink, std::span<const T> data) {
  if constexpr (std::is_same_v<Stored, T>) {
    sink(std::as_bytes(data));
  } else {
    constexpr size_t chunk = size_t{1} << 16;
    std::vector<Stored> buffer(std::min(chunk, data.size()));
    for (size_t done = 0; done < data.size(); done += chunk) {
      const auto part = data.subspan(done, std::min(chunk, data.size() - done));
      std::transform(part.begin(), part.end(), buffer.begin(), convert<Stored, T>);
      sink(std::as_bytes(std::span<const Stored>(buffer.data(), part.size())));
    }
  }
}

void write_data(const ByteSink& sink, const TensorToWrite& tensor) {
  std::visit(
      [&](const auto& data) {
        switch (tensor.dtype) {
          case SafeDType::F64:
            return write_as<double>(sink, data);
          case SafeDType::F32:
            return write_as<float>(sink, data);
          case SafeDType::BF16:
            return write_as<BFloat16>(sink, data);
          default:
            return write_as<Float16>(sink, data);
        }
      },
      tensor.data);
}

void check(const std::string& path, const TensorToWrite& tensor) {
  if (!is_readable_float(tensor.dtype)) {
    fail("{}: tensor {} cannot be written as {}; use F64, F32, BF16 or F16", path, quote(tensor.name),
         name_of(tensor.dtype));
  }
  if (tensor.name == "__metadata__") fail("{}: a tensor cannot be named __metadata__", path);
  const size_t n = std::visit([](const auto& data) { return data.size(); }, tensor.data);
  uint64_t expected = 1;
  bool overflow = false;
  for (const uint64_t d : tensor.shape) overflow |= __builtin_mul_overflow(expected, d, &expected);
  if (overflow || expected != n) {
    fail("{}: tensor {} has shape {} and {} elements of data", path, quote(tensor.name), shape_string(tensor.shape), n);
  }
}

}  // namespace

void write_safetensors(const ByteSink& sink, const std::string& path, std::span<const TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::set<std::string_view> names;
  for (const TensorToWrite& t : tensors) {
    check(path, t);
    if (!names.insert(t.name).second) fail("{}: two tensors are named {}", path, quote(t.name));
  }
  std::vector<const TensorToWrite*> order;
  for (const TensorToWrite& t : tensors) order.push_back(&t);
  std::sort(order.begin(), order.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
    return a->dtype != b->dtype ? a->dtype > b->dtype : a->name < b->name;
  });

  std::vector<TensorEntry> entries;
  uint64_t end = 0;
  for (const TensorToWrite* t : order) {
    TensorEntry entry{t->name, t->dtype, t->shape, end, 0};
    end += entry.numel() * bits_of(t->dtype) / 8;
    entry.end = end;
    entries.push_back(std::move(entry));
  }
  const std::string header = format_safetensors_header(entries, metadata);
  if (header.size() > safetensors_header_limit)
    fail("{}: the header has {} bytes, over the format's limit", path, header.size());

  const uint64_t n = header.size();
  sink(std::as_bytes(std::span(&n, 1)));
  sink(std::as_bytes(std::span(header)));
  for (const TensorToWrite* t : order) write_data(sink, *t);
}

void write_safetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata, Flush flush) {
  std::optional<AtomicFile> file;  // not before the tensors are known to make a file
  const ByteSink sink = [&](std::span<const std::byte> bytes) {
    if (!file) file.emplace(path);
    file->write(bytes);
  };
  write_safetensors(sink, path, tensors, metadata);
  file->commit(flush);
}

}  // namespace crisp
