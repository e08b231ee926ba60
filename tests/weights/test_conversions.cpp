// The 16-bit types through a file, over all their patterns.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <random>

#include "tests/support/catch.h"
#include "tests/weights/support.h"
#include "weights/safetensors.h"

namespace crisp {
namespace {

using test::TempDir;

// The value of a binary floating-point pattern by the definition of IEEE 754, independent of the bit tricks tested.
double value_of(uint32_t pattern, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(pattern >> fraction_bits) & ((1 << exponent_bits) - 1);
  const uint32_t fraction = pattern & ((1u << fraction_bits) - 1u);
  const double sign = pattern >> (exponent_bits + fraction_bits) ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) return fraction ? std::nan("") : sign * INFINITY;
  const double significand = fraction + (exponent ? std::ldexp(1.0, fraction_bits) : 0.0);
  return sign * std::ldexp(significand, std::max(exponent, 1) - bias - fraction_bits);
}

struct Half {
  SafeDType dtype;
  int exponent_bits, fraction_bits;
};
constexpr Half halves[] = {{SafeDType::F16, 5, 10}, {SafeDType::BF16, 8, 7}};

std::string all_patterns_file(const Half& half) {
  std::string data;
  for (uint32_t p = 0; p < 65536; ++p) data += {static_cast<char>(p & 0xff), static_cast<char>(p >> 8)};
  return test::file_of(
      fmt::format(R"({{"t":{{"dtype":"{}","shape":[65536],"data_offsets":[0,131072]}}}})", name_of(half.dtype)), data);
}

TEST_CASE("all 65536 patterns of f16 and bf16 are read as their value, and written back as themselves") {
  const TempDir dir;
  for (const Half& half : halves) {
    INFO(name_of(half.dtype));
    test::write_file(dir / "f", all_patterns_file(half));
    const auto file = SafetensorsFile::open(dir / "f");
    std::vector<float> f32(65536);
    std::vector<double> f64(65536);
    file.read(file.tensors()[0], std::span<float>(f32));
    file.read(file.tensors()[0], std::span<double>(f64));
    size_t wrong = 0;
    for (uint32_t p = 0; p < 65536; ++p) {
      const double expected = value_of(p, half.exponent_bits, half.fraction_bits);
      const auto is = [&](double x) {
        return std::isnan(expected) ? std::isnan(x)
                                    : std::bit_cast<uint64_t>(x) == std::bit_cast<uint64_t>(expected);  // -0 too
      };
      wrong += !is(f32[p]) || !is(f64[p]);
    }
    CHECK(wrong == 0);

    const TensorToWrite from_f32{"t", half.dtype, {65536}, std::span<const float>(f32)};
    const TensorToWrite from_f64{"t", half.dtype, {65536}, std::span<const double>(f64)};
    for (const TensorToWrite& tensor : {from_f32, from_f64}) {
      write_safetensors(dir / "again", std::span(&tensor, 1));
      const auto again = SafetensorsFile::open(dir / "again");
      const auto bytes = again.bytes(again.tensors()[0]);
      const auto original = file.bytes(file.tensors()[0]);
      size_t changed = 0;
      for (size_t i = 0; i < 65536; ++i) {
        if (std::isnan(f32[i])) {
          std::vector<float> nan(1);
          again.read_part(again.tensors()[0], i, std::span<float>(nan));
          changed += !std::isnan(nan[0]);
        } else {
          changed += std::memcmp(&bytes[2 * i], &original[2 * i], 2) != 0;
        }
      }
      CHECK(changed == 0);
    }
  }
}

TEST_CASE("doubles are rounded to 16 bits once, not through a rounded float") {
  // Just above the middle between two neighbours by less than a float can hold: rounding to float first would land on
  // the middle and then on the even, lower neighbour.
  const double tiny = 0x1p-40;
  const std::vector<double> data{
      1.0 + 0x1p-11 + tiny, 1.0 + 0x1p-11 - tiny, -1.0 - 0x1p-8 - tiny, 1.0 + 0x1p-11, 65519.999999999, 65520.0, 1e300,
      0x1p-25 + 0x1p-60};
  const TempDir dir;
  const TensorToWrite tensors[] = {{"f16", SafeDType::F16, {8}, std::span<const double>(data)},
                                   {"bf16", SafeDType::BF16, {8}, std::span<const double>(data)}};
  write_safetensors(dir / "f", tensors);
  const auto file = SafetensorsFile::open(dir / "f");
  std::vector<float> f16(8), bf16(8);
  file.read(*file.find("f16"), std::span<float>(f16));
  file.read(*file.find("bf16"), std::span<float>(bf16));
  CHECK(f16 == std::vector<float>{1 + 0x1p-10f, 1, -1 - 0x1p-8f, 1, 65504, INFINITY, INFINITY, 0x1p-24f});
  CHECK(bf16[2] == -1 - 0x1p-7f);
  CHECK(bf16[6] == INFINITY);
}

TEST_CASE("random doubles round to the nearest value of each 16-bit type") {
  std::mt19937_64 random(1);
  std::vector<double> data(20'000);
  for (double& x : data)
    x = std::ldexp(static_cast<double>(random()) / 0x1p63 - 1.0, static_cast<int>(random() % 40) - 24);
  const TempDir dir;
  for (const Half& half : halves) {
    const TensorToWrite tensor{"t", half.dtype, {data.size()}, std::span<const double>(data)};
    write_safetensors(dir / "f", std::span(&tensor, 1));
    const auto file = SafetensorsFile::open(dir / "f");
    const auto bytes = file.bytes(file.tensors()[0]);
    size_t wrong = 0;
    for (size_t i = 0; i < data.size(); ++i) {
      const uint32_t p = static_cast<uint32_t>(bytes[2 * i]) | static_cast<uint32_t>(bytes[2 * i + 1]) << 8;
      const auto distance = [&](uint32_t q) {
        return std::abs(value_of(q, half.exponent_bits, half.fraction_bits) - data[i]);
      };
      wrong += distance(p) > distance(p + 1) || ((p & 0x7fff) != 0 && distance(p) > distance(p - 1));
    }
    CHECK(wrong == 0);
  }
}

}  // namespace
}  // namespace crisp
