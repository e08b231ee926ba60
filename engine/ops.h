// Every operation. Each is declared once, in engine/ops/<name>.cpp: shape rule, forward, backward, FLOP count, samples.
//
// All take the tape first and compute in the inputs' dtype (f32 or f64). Shapes are [.., dim] row-major; a "row" runs
// over the last dimension. Errors name the operation and its operands.
#pragma once

#include <cstdint>
#include <span>

#include "engine/kernels.h"
#include "engine/plan.h"
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
/// Rows of a table: table [n, dim], rows of any shape -> [rows.., dim].
Tensor embedding(Tape& tape, const Tensor& table, const Rows& rows);
/// The same for i32 ids, from which it makes the plan.
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
/// dropout(layer_norm(words[word_rows] + positions[position_rows])), fused: rows [total] -> [total, dim].
Tensor embeddings_layer_norm(Tape& tape, const Tensor& words, const Tensor& positions, const Rows& word_rows,
                             const Rows& position_rows, const Tensor& weight, const Tensor& bias, double epsilon,
                             const Dropout& dropout);
/// The same for i32 ids and position_ids [total], from which it makes the plans.
Tensor embeddings_layer_norm(Tape& tape, const Tensor& words, const Tensor& positions, const Tensor& ids,
                             const Tensor& position_ids, const Tensor& weight, const Tensor& bias, double epsilon,
                             const Dropout& dropout);

// --- loss ------------------------------------------------------------------------------------------------------------
/// Mean over rows of -log softmax(logits)[label]: logits [n, classes], labels [n] as rows of `classes` -> scalar. n
/// must not be 0.
Tensor cross_entropy(Tape& tape, const Tensor& logits, const Rows& labels);
/// The same for labels i32 [n].
Tensor cross_entropy(Tape& tape, const Tensor& logits, const Tensor& labels);

// --- attention -------------------------------------------------------------------------------------------------------
/// What one attention layer does: scores = scale q k'; a selection, and then chance, remove some; a normaliser makes
/// weights of those that are left, perhaps times a gate; dropout; the weighted sum of the values. One operation for the
/// family that Crisp Attention (arXiv 2508.06016) belongs to. A row always keeps at least one key. What is kept is a
/// constant to the gradient: survivors get the normaliser's gradient, the others none. A NaN counts as larger than
/// every score (for bottom_k: smaller) and is never removed by chance, so that it shows.
struct AttentionRule {
  int64_t heads = 1;
  double scale = 1;  // usually 1/sqrt(head size)

  /// Which keys are kept. k = top_k_count(sparsity, n) in engine/kernels.h: max(1, floor((1 - sparsity) n + 0.5)) for a
  /// query of n keys, computed so that a sparsity of 0.9 means nine tenths whatever its binary rounding.
  /// - listed: the keys in `lists`, wherever they come from. Other scores need not be computed.
  /// - top_k_row: exactly k, the largest; among equal scores the earlier key wins (Gupta et al., arXiv 2106.06899).
  /// - top_k_ties: all that are at least the k-th largest (Explicit Sparse Transformer, arXiv 1912.11637).
  /// - percentile_head: all scores of one head and sequence that are at or above their `sparsity` quantile (linear
  ///   interpolation, as torch.quantile and numpy.quantile); ties at the threshold are all kept; a query that would
  ///   keep none keeps its largest score (the earliest of equal ones).
  /// - threshold: scores (scaled) >= threshold; a query that would keep none keeps its largest, as above.
  /// - bottom_k: exactly k, the smallest; among equal scores the earlier key wins.
  /// - drop_top: each of the n - k largest scores (the earlier of equal ones) is removed with probability drop_p
  ///   (AttentionDrop, arXiv 2504.12088); element = index into the weights of the batch.
  /// For the selections by sparsity, 0 is the same as `all`, bit for bit.
  Selection selection = Selection::all;
  double sparsity = 0;
  double threshold = 0;
  double drop_p = 0;  // in [0, 1]
  RandomKey drop_key = {};
  ListedKeys lists = {};  // for `listed`

  /// Protected keys: the sequence's first and last, and key i for its query i (if there is one). They rank before all
  /// others (of more than k, the earlier ones), hence are kept first and count within k; by `threshold` and
  /// `percentile_head` they are kept in addition. Chance (drop_top, key dropout) never removes them. For `listed` the
  /// caller puts them into the lists.
  bool keep_first = false, keep_last = false, keep_diagonal = false;

  /// Weights from the kept scores: softmax; sparsemax, max(score - t, 0) (arXiv 1602.02068); entmax15,
  /// max(score/2 - t, 0)^2 (1.5-entmax, arXiv 1905.05702); t is such that they add up to 1.
  Normaliser normaliser = Normaliser::softmax;

  /// DropKey, and DropAttention (arXiv 1907.11065) with its renormalisation: kept keys are removed with probability p
  /// in [0, 1) before the normaliser. To remove an entry of the softmax and divide the others by their sum is to set
  /// its score to -infinity, and where the gradient goes through the division, as it does here, gradients agree as
  /// well: by entries, with softmax, the two are one; else this is DropKey alone. With `columns` a key is removed for
  /// all queries of a (sequence, head) at once, as DropAttention's columns. A row that would lose all keeps its largest
  /// score.
  KeyDropout key_dropout = {};

  /// Learned span, [heads] of q's dtype, may require a gradient: weights are proportional to m exp(score) with the gate
  /// m = clamp((span_ramp + span[head] - |i - j|) / span_ramp, 0, 1) for query i and key j of a sequence (adaptive
  /// attention span, arXiv 1905.07799, looking both ways). Keys with m = 0 are not kept; a query with none keeps the
  /// key nearest to it. span_ramp > 0. Only with Selection::all and softmax.
  Tensor span = {};
  double span_ramp = 0;

  Dropout dropout = {};  // on the weights
};

/// What was kept: per head, summed over the batch, in f64 [heads].
struct AttentionStats {
  Tensor kept;      // (query, key) pairs that were selected; with sparsemax and entmax15, those with a weight above 0
  Tensor pairs;     // valid (query, key) pairs
  Tensor entropy;   // sum over queries of -sum p log p of the weights before dropout, in nats
  Tensor log_kept;  // sum over queries of the log of how many keys the selection kept: the largest entropy possible
  Tensor queries;   // number of queries
};

/// Multi-head attention over packed sequences, no padding anywhere. q [queries, dim], k and v [keys, dim], whose
/// sequences `segments` tells. Returns [queries, dim]. Where one tensor serves as queries and as keys or values, their
/// offsets must be equal. `stats`, if given, is filled.
Tensor attention(Tape& tape, const Tensor& q, const Tensor& k, const Tensor& v, const Segments& segments,
                 const AttentionRule& rule, AttentionStats* stats = nullptr);
/// The same for i32 offsets [batch + 1], from which it makes the segments.
Tensor attention(Tape& tape, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
                 const Tensor& kv_offsets, const AttentionRule& rule, AttentionStats* stats = nullptr);

/// The two linear maps that let attention run on a layer's inputs x instead of keys and values made of them, which is
/// cheaper where sequences have few queries (the absorbed projections of DeepSeek-V2, arXiv 2405.04434). With x1 = (x |
/// 1 | 0 ..) [total, width], width > in, the context of every head h is that of
///   attention(q, k = x weight_k' + bias_k, v = x weight_v' + bias_v)
///     = absorb_values(attention(absorb_keys(q, weight_k, bias_k), x1, x1, one head), weight_v, bias_v)
/// up to rounding, also with a selection by rows and with dropout: a query's heads become queries of their own. Hence
/// not with what goes by heads or by the query's position: percentile_head, lists by head, keep_diagonal, columns of
/// key dropout, a span. q [n, dim], weight [dim, in], bias [dim] -> [n * heads, width].
Tensor absorb_keys(Tape& tape, const Tensor& q, const Tensor& weight, const Tensor& bias, int64_t heads, int64_t width);
/// sums [n * heads, width], weight [dim, in], bias [dim] -> [n, dim].
Tensor absorb_values(Tape& tape, const Tensor& sums, const Tensor& weight, const Tensor& bias, int64_t heads);

// --- not on the tape -------------------------------------------------------------------------------------------------
/// A tensor of one value, made where it is.
Tensor filled(const Context& context, const Shape& shape, DType dtype, double value, Device device);

}  // namespace crisp
