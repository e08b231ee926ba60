// Every operation. Each is declared once, in engine/ops/<name>.cpp: shape rule, forward, backward, FLOP count, samples.
//
// All take the tape first and compute in the inputs' dtype (f32 or f64). Shapes are [.., dim] row-major; a "row" runs
// over the last dimension. Errors name the operation and its operands.
#pragma once

#include <cstdint>
#include <span>

#include "engine/kernels.h"
#include "engine/tape.h"
#include "engine/tensor.h"

namespace crisp {

// --- elementwise, with NumPy's broadcasting --------------------------------------------------------------------------
Tensor add(Tape& tape, const Tensor& a, const Tensor& b);
Tensor sub(Tape& tape, const Tensor& a, const Tensor& b);
Tensor mul(Tape& tape, const Tensor& a, const Tensor& b);
Tensor div(Tape& tape, const Tensor& a, const Tensor& b);

// --- elementwise ----------------------------------------------------------------------------------------------------
Tensor scale(Tape& tape, const Tensor& x, double factor);
Tensor exp(Tape& tape, const Tensor& x);
Tensor log(Tape& tape, const Tensor& x);
Tensor sqrt(Tape& tape, const Tensor& x);
Tensor tanh(Tape& tape, const Tensor& x);
Tensor sigmoid(Tape& tape, const Tensor& x);
/// The gradient at 0 is 0.
Tensor relu(Tape& tape, const Tensor& x);
Tensor erf(Tape& tape, const Tensor& x);
/// x Phi(x) with the normal distribution function, i.e. the erf form (arXiv 1606.08415), not the tanh approximation.
Tensor gelu(Tape& tape, const Tensor& x);
/// Zeroes each element with probability p, scales the others by 1/(1-p). p = 0 returns x itself. p in [0, 1).
Tensor dropout(Tape& tape, const Tensor& x, const Dropout& dropout);

// --- reductions: over one axis (negative: from the last), which disappears; or over all, giving a scalar -------------
Tensor sum(Tape& tape, const Tensor& x, int axis);
Tensor sum(Tape& tape, const Tensor& x);
/// The mean over no elements is NaN.
Tensor mean(Tape& tape, const Tensor& x, int axis);
Tensor mean(Tape& tape, const Tensor& x);
/// The gradient goes to the first maximum. The axis must not be empty.
Tensor max(Tape& tape, const Tensor& x, int axis);

// --- moves -----------------------------------------------------------------------------------------------------------
Tensor slice(Tape& tape, const Tensor& x, int axis, int64_t begin, int64_t count);
Tensor concat(Tape& tape, std::span<const Tensor> parts, int axis);
/// Shares x's storage.
Tensor reshape(Tape& tape, const Tensor& x, const Shape& shape);
/// [.., r, c] -> [.., c, r]
Tensor transpose(Tape& tape, const Tensor& x);
/// Rows of a table: table [n, dim], ids i32 of any shape -> [ids.., dim].
Tensor embedding(Tape& tape, const Tensor& table, const Tensor& ids);

// --- products --------------------------------------------------------------------------------------------------------
/// op(a) op(b) on the last two dimensions, op(x) = x or its transpose; leading dimensions must be equal.
Tensor matmul(Tape& tape, const Tensor& a, const Tensor& b, bool trans_a = false, bool trans_b = false);
enum class Activation : uint8_t { none, gelu };
/// activation(x weight' + bias): x [.., in], weight [out, in], bias [out] or empty.
Tensor linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
              Activation activation = Activation::none);
/// gelu(x up' + up_bias) down' + down_bias: x [.., in], up [hidden, in], down [out, hidden], biases [hidden] and [out]
/// or empty. As two calls of linear(), but gelu's result is not kept for the backward pass, which computes it again.
Tensor feed_forward(Tape& tape, const Tensor& x, const Tensor& up, const Tensor& up_bias, const Tensor& down,
                    const Tensor& down_bias);

// --- rows ------------------------------------------------------------------------------------------------------------
Tensor softmax(Tape& tape, const Tensor& x);
Tensor log_softmax(Tape& tape, const Tensor& x);
/// (x - mean) / sqrt(variance + epsilon) * weight + bias over rows, variance with 1/n (arXiv 1607.06450).
Tensor layer_norm(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon);
/// layer_norm(x + dropout(residual)), fused.
Tensor residual_layer_norm(Tape& tape, const Tensor& x, const Tensor& residual, const Dropout& dropout,
                           const Tensor& weight, const Tensor& bias, double epsilon);
/// dropout(layer_norm(words[ids] + positions[position_ids])), fused: ids and position_ids i32 [total] -> [total, dim].
Tensor embeddings_layer_norm(Tape& tape, const Tensor& words, const Tensor& positions, const Tensor& ids,
                             const Tensor& position_ids, const Tensor& weight, const Tensor& bias, double epsilon,
                             const Dropout& dropout);

// --- loss ------------------------------------------------------------------------------------------------------------
/// Mean over rows of -log softmax(logits)[label]: logits [n, classes], labels i32 [n] -> scalar. n must not be 0.
Tensor cross_entropy(Tape& tape, const Tensor& logits, const Tensor& labels);

// --- attention -------------------------------------------------------------------------------------------------------
/// What one attention layer does. See reference: Crisp Attention, arXiv 2508.06016.
struct AttentionRule {
  int64_t heads = 1;
  double scale = 1;  // scores = scale * q k'; usually 1/sqrt(head size)
  /// Which keys are kept, before the softmax. A row always keeps at least one key.
  /// - top_k_row: per query, the k = max(1, floor((1 - sparsity) n + 0.5)) largest of its n scores, computed so that a
  ///   sparsity of 0.9 means nine tenths whatever its binary rounding (top_k_count in engine/kernels.h); among equal
  ///   scores the earlier key wins, so exactly k are kept.
  /// - percentile_head: all scores of one head and sequence that are at or above their `sparsity` quantile (linear
  ///   interpolation, as torch.quantile and numpy.quantile); ties at the threshold are all kept; a query that would
  ///   keep none keeps its largest score (the earliest of equal ones).
  /// The selection is a constant to the gradient: survivors get ordinary softmax gradients, the others none. sparsity 0
  /// is dense attention, bit for bit.
  Selection selection = Selection::all;
  double sparsity = 0;
  Dropout dropout;  // on the weights
};

/// What was kept: per head, summed over the batch, in f64 [heads].
struct AttentionStats {
  Tensor kept;     // selected (query, key) pairs
  Tensor pairs;    // valid (query, key) pairs
  Tensor entropy;  // sum over queries of -sum p log p of the weights before dropout, in nats
  Tensor queries;  // number of queries
};

/// Multi-head attention over packed sequences, no padding anywhere. q [total_q, dim], k and v [total_k, dim]; sequence
/// s has queries q_offsets[s]..q_offsets[s+1] and keys kv_offsets[s]..kv_offsets[s+1] (i32 [batch + 1], increasing,
/// from 0 to the totals). Returns [total_q, dim]. Every sequence with queries needs a key. Where one tensor serves as
/// queries and as keys or values, both offsets must be equal. `stats`, if given, is filled.
Tensor attention(Tape& tape, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                 const Tensor& kv_offsets, const AttentionRule& rule, AttentionStats* stats = nullptr);

/// The two linear maps that let attention run on a layer's inputs x instead of keys and values made of them, which is
/// cheaper where sequences have few queries (the absorbed projections of DeepSeek-V2, arXiv 2405.04434). With x1 = (x |
/// 1 | 0 ..) [total, width], width > in, the context of every head h is that of
///   attention(q, k = x weight_k' + bias_k, v = x weight_v' + bias_v)
///     = absorb_values(attention(absorb_keys(q, weight_k, bias_k), x1, x1, one head), weight_v, bias_v)
/// up to rounding, also with a selection by rows and with dropout: a query's heads become queries of their own.
/// q [n, dim], weight [dim, in], bias [dim] -> [n * heads, width].
Tensor absorb_keys(Tape& tape, const Tensor& q, const Tensor& weight, const Tensor& bias, int64_t heads, int64_t width);
/// sums [n * heads, width], weight [dim, in], bias [dim] -> [n, dim].
Tensor absorb_values(Tape& tape, const Tensor& sums, const Tensor& weight, const Tensor& bias, int64_t heads);

// --- not on the tape -------------------------------------------------------------------------------------------------
/// One AdamW update in place: parameter, m and v of one shape and dtype.
void adamw(const Tensor& parameter, const Tensor& gradient, const Tensor& m, const Tensor& v, const AdamWStep& step);
/// AdamW on some rows of a table whose other rows wait. Row rows[i] (i32 [n], each once) of parameter, m and v runs the
/// steps from[i] (i32 [n]) to rates.size() - 1, given by their rates: without a gradient, except that gradient [n,
/// dim], unless it is an empty handle, belongs to the last step, with step.gradient_scale. Of `step` the betas and
/// epsilon count besides. The result has the bits of adamw(), step by step, on gradients that are 0 elsewhere. Throws
/// Error for a row or a step outside of what there is.
void adamw_rows(const Tensor& parameter, const Tensor& m, const Tensor& v, const AdamWStep& step,
                std::span<const AdamWRates> rates, const Tensor& rows, const Tensor& from, const Tensor& gradient);
/// Sum of squares of all elements, in f64.
double sum_squares(const Tensor& x);
/// The same, row by row, so that a row of zeros changes no bit of it.
double sum_squares(const RowGradient& gradient);
bool all_finite(const Tensor& x);

}  // namespace crisp
