// Every operation. Each is declared once, in engine/ops/<name>.cpp: shape rule, forward, backward, FLOP count, samples.
//
// All take the tape first and compute in the inputs' dtype (f32 or f64). Shapes are [.., dim] row-major; a "row" runs
// over the last dimension. Errors name the operation and its operands. A fused operation does the work of several in
// one kernel: it passes over memory once and saves fewer tensors. Ids, labels and offsets are plans (engine/plan.h); an
// i32 tensor of ids makes one on the way, as {q_offsets, kv_offsets} do: on the host, which waits for it, and what is
// wrong with the integers themselves is said by the plan, which knows no operation.
#pragma once

#include <cstdint>
#include <span>

#include "engine/attention_rule.h"
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

// --- products --------------------------------------------------------------------------------------------------------
/// op(a) op(b) on the last two dimensions, op(x) = x or its transpose; leading dimensions must be equal.
Tensor matmul(Tape& tape, const Tensor& a, const Tensor& b, bool trans_a = false, bool trans_b = false);
enum class Activation : uint8_t { none, gelu };
/// activation(x weight' + bias): x [.., in], weight [out, in], bias [out] or empty.
Tensor linear(Tape& tape, const Tensor& x, const Tensor& weight, const Tensor& bias,
              Activation activation = Activation::none);
/// The parameters of a linear layer: weight [out, in], bias [out] or empty.
struct LinearLayer {
  Tensor weight, bias;
};
/// Several linear layers of one input, their results side by side: x [.., in] -> [.., sum of out]. One product does
/// where their weights lie one under the other in one storage (Tensor::joined), and their biases, too.
Tensor linears(Tape& tape, const Tensor& x, std::span<const LinearLayer> layers);
/// gelu(x up' + up_bias) down' + down_bias: x [.., in], up [hidden, in], down [out, hidden], biases [hidden] and [out]
/// or empty. As two calls of linear(), but gelu's result is not saved: the backward pass computes it again.
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

// --- loss ------------------------------------------------------------------------------------------------------------
/// Mean over rows of -log softmax(logits)[label]: logits [n, classes], labels [n] as rows of `classes` -> scalar. n
/// must not be 0.
Tensor cross_entropy(Tape& tape, const Tensor& logits, const Rows& labels);

// --- attention -------------------------------------------------------------------------------------------------------
/// Multi-head attention over packed sequences, no padding anywhere. q [queries, dim], k and v [keys, dim], whose
/// sequences `segments` tells. Returns [queries, dim]. Where one tensor serves as queries and as keys or values, their
/// offsets must be equal. `stats`, if given, is filled.
Tensor attention(Tape& tape, const Tensor& q, const Tensor& k, const Tensor& v, const Segments& segments,
                 const AttentionRule& rule, AttentionStats* stats = nullptr);
/// The same with kv = (k | v) [keys, 2 dim] side by side, and with qkv = (q | k | v) [rows, 3 dim]: see linears().
Tensor attention(Tape& tape, const Tensor& q, const Tensor& kv, const Segments& segments, const AttentionRule& rule,
                 AttentionStats* stats = nullptr);
Tensor attention(Tape& tape, const Tensor& qkv, const Segments& segments, const AttentionRule& rule,
                 AttentionStats* stats = nullptr);

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
/// The weights that attention() multiplies the values of k with, before dropout: [queries, heads, longest], where
/// `longest` is the largest number of keys of a sequence and key j of a query's sequence stands at [.., j]; 0 where a
/// key was not kept and where there is none. In host memory, in q's dtype. For inspection: the same kernel computes
/// them, from values that are 1 for one key and 0 for all others, so that no bit differs. A kept key has the weight 0,
/// too, where e^(score - largest score) is below what the dtype holds.
Tensor attention_weights(const Context& context, const Tensor& q, const Tensor& k, const Segments& segments,
                         const AttentionRule& rule);
/// A tensor of one value, made where it is.
Tensor filled(const Context& context, const Shape& shape, DType dtype, double value, Device device);

}  // namespace crisp
