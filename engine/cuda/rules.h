// What decides how much memory a GPU takes: known without one, for engine/meta. No CUDA here.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "engine/kernels.h"

namespace crisp::cuda_rules {

constexpr bool products_form_squares = false, products_sum_operands = true, launches_kernels = true;

constexpr bool supports(MatmulPrecision precision) {
  return precision == MatmulPrecision::f32 || precision == MatmulPrecision::tf32 || precision == MatmulPrecision::bf16;
}

constexpr size_t memory_alignment = 256;
/// What a block of so many bytes takes.
constexpr size_t block_bytes(size_t bytes) {
  return (std::max<size_t>(bytes, 1) + memory_alignment - 1) / memory_alignment * memory_alignment;
}

/// Whether a product runs beside what follows, so that what is freed meanwhile waits. What has an epilogue of our own
/// goes on with it at once.
template <class T>
constexpr bool runs_beside(const GemmCall<T>& g) {
  return g.beside && !g.bias && !g.gelu_out && !g.sum_squares;
}

/// The workspace that cublasLt may take for a queue, of which there are two: it alone knows how much it does.
constexpr size_t most_product_workspace = size_t{32} << 20;

// --- scratch memory of kernels, in bytes: the large ones -------------------------------------------------------------

constexpr size_t least_scratch = size_t{1} << 20;

/// Blocks that keep a device busy: sums are divided until there are about so many.
constexpr int64_t enough_blocks = 512;

/// How the rows of layer_norm_backward are cut.
struct Chunks {
  int64_t length, count;
};
template <class T>
constexpr Chunks layer_norm_chunks(const LayerNormGradient<T>& c) {
  const bool parameters = c.dweight || c.dbias;
  const auto divide_up = [](int64_t n, int64_t by) { return (n + by - 1) / by; };
  const int64_t length = parameters ? std::max<int64_t>(1, divide_up(c.rows, enough_blocks / 2)) : 1;
  return {length, divide_up(c.rows, length)};
}
template <class T>
constexpr size_t scratch_of(const LayerNormGradient<T>& c) {
  if (!c.dweight && !c.dbias) return 0;
  return static_cast<size_t>(std::max<int64_t>(1, layer_norm_chunks(c).count * 2 * c.cols)) * sizeof(double);
}

/// Of attention_backward: for each row of a span's gradient, and for each pair scale dS.
template <class T>
constexpr size_t scratch_of(const AttentionShape& s, const AttentionGradient<T>& x) {
  if (!x.dq && !x.dk && !x.dspan) return 0;
  const int64_t rows = x.dspan ? s.queries * s.heads : 0;
  return static_cast<size_t>(rows) * sizeof(double) + static_cast<size_t>(s.heads * s.pairs) * sizeof(T);
}

}  // namespace crisp::cuda_rules
