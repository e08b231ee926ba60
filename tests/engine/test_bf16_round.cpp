// Rounding to bf16 as the matrix products do it (engine/cpu/gemm/bf16_round.h), by integers and by AVX-512 BF16.
#include <cfloat>
#include <cmath>
#include <cstring>

#include "engine/cpu/backend.h"
#include "tests/engine/emulated_tiles.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

// The bf16 number nearest to x by arithmetic of f64: its bits.
uint32_t nearest_bf16(uint32_t bits) {
  const float x = float_of(bits);
  if (std::isnan(x)) return bits >> 16 | 0x40;
  if (!std::isnormal(x)) return bits >> 16 & 0xff80;  // zero or infinity of its sign
  const double step = std::ldexp(1.0, std::ilogb(x) - 7);
  const double rounded = std::nearbyint(x / step) * step;
  if (std::fabs(rounded) > FLT_MAX) return rounded > 0 ? 0x7f80 : 0xff80;
  const auto result = static_cast<float>(rounded);
  uint32_t result_bits;
  std::memcpy(&result_bits, &result, 4);
  return result_bits & 0xffff ? ~0u : result_bits >> 16;
}

// How many of the numbers with any upper half, and lower halves around those where something changes, have other bits.
int64_t wrong_roundings(void (*round)(int64_t, const float*, uint32_t*, uint32_t*)) {
  std::vector<uint32_t> bits;
  for (uint32_t upper = 0; upper < 65536; ++upper)
    for (const uint32_t lower : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu, 0x1234u, 0xabcdu})
      bits.push_back(upper << 16 | lower);
  std::vector<float> x;
  for (const uint32_t b : bits) x.push_back(float_of(b));
  const auto n = static_cast<int64_t>(x.size());
  // 16 dwords for 32 numbers: by neighbours, and the first 16 beside the others.
  std::vector<uint32_t> neighbours(x.size() / 2), pairs(x.size() / 2);
  round(n, x.data(), neighbours.data(), pairs.data());
  int64_t wrong = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const uint32_t expected = nearest_bf16(bits[i]);
    const size_t group = i / 32, place = i % 32;
    wrong += (neighbours[i / 2] >> (i % 2 * 16) & 0xffff) != expected;
    wrong += (pairs[group * 16 + place % 16] >> (place / 16 * 16) & 0xffff) != expected;
  }
  return wrong;
}

}  // namespace

TEST_CASE("rounding to bf16: every exponent, ties, NaN payloads, infinities and subnormals") {
  CHECK(wrong_roundings(cpu_emulated::round_to_bf16) == 0);
}

TEST_CASE("rounding to bf16: the instruction does the same") {
#if defined(CRISP_HAVE_EMULATED_AVX512_BF16)
  if (!*cpu_bf16_unit()) CRISP_SKIP("this machine has no AVX-512 BF16");
  CHECK(wrong_roundings(cpu_emulated_avx512_bf16::round_to_bf16) == 0);
#else
  CRISP_SKIP("this build has no AVX-512 BF16");
#endif
}
