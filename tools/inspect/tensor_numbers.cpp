#include "tools/inspect/tensor_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/fail.h"

namespace crisp::inspect {
namespace {

constexpr size_t piece = size_t{1} << 16;  // elements that are in memory at a time

// f(T()) with the type of a whole-number dtype; false for another.
template <class F>
bool with_whole(SafeDType dtype, F&& f) {
  switch (dtype) {
    case SafeDType::I8:
      return f(int8_t{}), true;
    case SafeDType::U8:
      return f(uint8_t{}), true;
    case SafeDType::I16:
      return f(int16_t{}), true;
    case SafeDType::U16:
      return f(uint16_t{}), true;
    case SafeDType::I32:
      return f(int32_t{}), true;
    case SafeDType::U32:
      return f(uint32_t{}), true;
    case SafeDType::I64:
      return f(int64_t{}), true;
    case SafeDType::U64:
      return f(uint64_t{}), true;
    default:
      return false;
  }
}

template <class T>
std::vector<T> read_whole(const SafetensorsFile& file, const TensorEntry& tensor, uint64_t first, size_t count) {
  std::vector<T> values(count);
  file.read_raw(tensor, first * sizeof(T), std::as_writable_bytes(std::span(values)));
  return values;
}

// f(first, count) for each piece.
template <class F>
void for_each_piece(uint64_t elements, F&& f) {
  for (uint64_t first = 0; first < elements; first += piece)
    f(first, static_cast<size_t>(std::min<uint64_t>(piece, elements - first)));
}

double distance(double a, double b) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return 0;
  const double d = std::abs(a - b);
  return std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
}

// Where a double would round both to one number.
template <class T>
double whole_distance(T a, T b) {
  const auto large = static_cast<uint64_t>(std::max(a, b)), small = static_cast<uint64_t>(std::min(a, b));
  return static_cast<double>(large - small);
}

}  // namespace

bool has_numbers(SafeDType dtype) {
  return is_readable_float(dtype) || dtype == SafeDType::BOOL || with_whole(dtype, [](auto) {});
}

void read_numbers(const SafetensorsFile& file, const TensorEntry& tensor, uint64_t first, std::span<double> out) {
  if (is_readable_float(tensor.dtype)) {
    file.read_part(tensor, first, out);
  } else if (tensor.dtype == SafeDType::BOOL) {
    const std::vector<uint8_t> flags = read_whole<uint8_t>(file, tensor, first, out.size());
    std::transform(flags.begin(), flags.end(), out.begin(), [](uint8_t x) { return x != 0 ? 1.0 : 0.0; });
  } else if (!with_whole(tensor.dtype, [&]<class T>(T) {
               const std::vector<T> values = read_whole<T>(file, tensor, first, out.size());
               std::transform(values.begin(), values.end(), out.begin(), [](T x) { return static_cast<double>(x); });
             })) {
    fail("{} values are no numbers here", name_of(tensor.dtype));
  }
}

// Means and squares of pieces are joined as Chan, Golub and LeVeque (1983) do, so that nothing cancels.
TensorStatistics statistics_of(const SafetensorsFile& file, const TensorEntry& tensor) {
  TensorStatistics s;
  double mean = 0, squares = 0;  // the sum of (x - mean)^2
  std::vector<double> x(static_cast<size_t>(std::min<uint64_t>(piece, tensor.numel())));
  for_each_piece(tensor.numel(), [&](uint64_t first, size_t count) {
    read_numbers(file, tensor, first, std::span(x).first(count));
    double sum = 0, n = 0;
    for (size_t i = 0; i < count; ++i) {
      if (std::isfinite(x[i])) {
        if (!(x[i] >= s.min)) s.min = x[i], s.at_min = first + i;
        if (!(x[i] <= s.max)) s.max = x[i], s.at_max = first + i;
        sum += x[i];
        ++n;
      } else {
        ++(std::isnan(x[i]) ? s.nan : s.infinite);
        if (!s.at_not_finite) s.at_not_finite = first + i;
      }
    }
    if (n == 0) return;
    const double of_piece = sum / n, step = of_piece - mean, before = static_cast<double>(s.finite);
    for (size_t i = 0; i < count; ++i)
      if (std::isfinite(x[i])) squares += (x[i] - of_piece) * (x[i] - of_piece);
    s.finite += static_cast<uint64_t>(n);
    squares += step * step * before * (n / static_cast<double>(s.finite));
    mean += step * (n / static_cast<double>(s.finite));
  });
  if (s.finite == 0) return s;
  s.mean = mean;
  s.deviation = std::sqrt(squares / static_cast<double>(s.finite));
  return s;
}

TensorDifference difference_of(const SafetensorsFile& a, const TensorEntry& in_a, const SafetensorsFile& b,
                               const TensorEntry& in_b) {
  TensorDifference result;
  double of_difference = 0, of_b = 0;  // sums of squares
  std::vector<double> x(static_cast<size_t>(std::min<uint64_t>(piece, in_a.numel()))), y(x.size()), d(x.size());
  for_each_piece(in_a.numel(), [&](uint64_t first, size_t count) {
    read_numbers(a, in_a, first, std::span(x).first(count));
    read_numbers(b, in_b, first, std::span(y).first(count));
    const bool whole = in_a.dtype == in_b.dtype && with_whole(in_a.dtype, [&]<class T>(T) {
                         const std::vector<T> of_a = read_whole<T>(a, in_a, first, count),
                                              of_b_whole = read_whole<T>(b, in_b, first, count);
                         std::transform(of_a.begin(), of_a.end(), of_b_whole.begin(), d.begin(), whole_distance<T>);
                       });
    if (!whole)
      std::transform(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(count), y.begin(), d.begin(), distance);
    for (size_t i = 0; i < count; ++i) {
      if (std::isfinite(x[i]) && std::isfinite(y[i])) {
        of_difference += d[i] * d[i];
        of_b += y[i] * y[i];
      }
      if (d[i] == 0) continue;
      ++result.differing;
      if (d[i] <= result.largest) continue;
      result.largest = d[i];
      result.at = first + i;
      result.a = x[i];
      result.b = y[i];
    }
  });
  if (of_difference > 0) result.relative_l2 = std::sqrt(of_difference / of_b);
  return result;
}

bool same_bytes(const SafetensorsFile& a, const TensorEntry& in_a, const SafetensorsFile& b, const TensorEntry& in_b) {
  bool same = in_a.end - in_a.begin == in_b.end - in_b.begin;
  std::vector<std::byte> x, y;
  for_each_piece(in_a.end - in_a.begin, [&](uint64_t first, size_t count) {
    if (!same) return;
    x.resize(count);
    y.resize(count);
    a.read_raw(in_a, first, x);
    b.read_raw(in_b, first, y);
    same = x == y;
  });
  return same;
}

std::vector<uint64_t> indices_of(uint64_t element, std::span<const uint64_t> shape) {
  std::vector<uint64_t> indices(shape.size());
  for (size_t d = shape.size(); d-- > 0; element /= shape[d]) indices[d] = element % shape[d];
  return indices;
}

std::string number_text(double x, SafeDType dtype) {
  if (std::isnan(x)) return "nan";  // without the sign that fmt shows
  if (dtype == SafeDType::F64 || !is_readable_float(dtype)) return fmt::format("{}", x);
  return fmt::format("{}", static_cast<float>(x));
}

}  // namespace crisp::inspect
