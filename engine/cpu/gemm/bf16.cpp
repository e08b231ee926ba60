// The matrix product of f32 operands rounded to bf16, with the dot product of pairs of AVX-512 BF16: both products of a
// pair and the sum in f32 (without denormals). Compiled for that instruction set alone.
#include "engine/bit_cast.h"
#include "engine/cpu/gemm/batch.h"
#include "engine/cpu/gemm/panels.h"

namespace crisp::CRISP_ISA {
namespace {

// Nearest even, NaN stays NaN, denormals become 0: as the vector instructions do it.
CRISP_INLINE uint32_t bf16_bits(float x) {
  const auto bits = bit_cast<uint32_t>(x);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (bits >> 16) | 0x40u;
  if (magnitude < 0x00800000u) return (bits >> 16) & 0x8000u;
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

// Two neighbours along k in a word.
struct Bf16Pairs {
  using Value = float;
  using Word = uint32_t;
  static constexpr int depth = 2;
  static constexpr bool in_place = false;

  CRISP_INLINE static Vec<float> multiply_add(Word a, Vec<Word> b, Vec<float> sum) {
    const auto pairs = reinterpret_cast<__m512bh>(Vec<Word>{} + a);
    return reinterpret_cast<Vec<float>>(
        _mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), pairs, reinterpret_cast<__m512bh>(b)));
  }
  CRISP_INLINE static Vec<Word> along_k(const float* p) {
    return reinterpret_cast<Vec<Word>>(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(p + 16), _mm512_loadu_ps(p)));
  }
  CRISP_INLINE static Word word_along_k(const float* p, int64_t left) {
    return bf16_bits(p[0]) | (left > 1 ? bf16_bits(p[1]) << 16 : 0u);
  }
  CRISP_INLINE static Vec<Word> across_k(const float* p, int64_t ld) {
    const __m512i low = _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(p))));
    const __m512i high = _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(p + ld))));
    return reinterpret_cast<Vec<Word>>(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
  CRISP_INLINE static Word word_across_k(const float* p, int64_t ld, int64_t left) {
    return bf16_bits(p[0]) | (left > 1 ? bf16_bits(p[ld]) << 16 : 0u);
  }
  template <int n>
  CRISP_INLINE static void copy_across_k(const float* p, int64_t ld, Word* out) {
    static_assert(n == 8);
    const __m256i low = _mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(_mm256_cvtneps_pbh(_mm256_loadu_ps(p))));
    const __m256i high = _mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(_mm256_cvtneps_pbh(_mm256_loadu_ps(p + ld))));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_or_si256(low, _mm256_slli_epi32(high, 16)));
  }
};

}  // namespace

void gemm_bf16(const GemmCall<float>& call) { for_products(call, gemm_panels<Bf16Pairs>); }

}  // namespace crisp::CRISP_ISA
