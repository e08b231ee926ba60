// The matrix product of f32 operands rounded to bf16, with the dot product of pairs of AVX-512 BF16: both products of a
// pair and the sum in f32 (without denormals). Compiled for that instruction set alone.
#include "engine/cpu/gemm/batch.h"
#include "engine/cpu/gemm/bf16_round.h"
#include "engine/cpu/gemm/panels.h"

namespace crisp::CRISP_ISA {
namespace {

// Element i of the first half beside element i of the second.
typedef uint16_t HalvesOf8 __attribute__((vector_size(32)));
constexpr HalvesOf8 neighbours_of_8 = {0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15};

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
    Vec<Word> words;
    bf16_neighbours(load(p), load(p + 16), words);
    return words;
  }
  CRISP_INLINE static Word word_along_k(const float* p, int64_t left) {
    return bf16_bits(p[0]) | (left > 1 ? bf16_bits(p[1]) << 16 : 0u);
  }
  CRISP_INLINE static Vec<Word> across_k(const float* p, int64_t ld) {
    Vec<Word> words;
    bf16_pairs(load(p), load(p + ld), words);
    return words;
  }
  CRISP_INLINE static Word word_across_k(const float* p, int64_t ld, int64_t left) {
    return bf16_bits(p[0]) | (left > 1 ? bf16_bits(p[ld]) << 16 : 0u);
  }
  template <int n>
  CRISP_INLINE static void copy_across_k(const float* p, int64_t ld, Word* out) {
    static_assert(n == 8);
    const auto rows = reinterpret_cast<__m256i>(_mm256_cvtne2ps_pbh(_mm256_loadu_ps(p + ld), _mm256_loadu_ps(p)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                        _mm256_permutexvar_epi16(reinterpret_cast<__m256i>(neighbours_of_8), rows));
  }
};

}  // namespace

void gemm_bf16(const GemmCall<float>& call) { for_products(call, gemm_panels<Bf16Pairs>); }

}  // namespace crisp::CRISP_ISA
