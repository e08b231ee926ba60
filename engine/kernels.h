// The kernel contract: what a backend provides. Raw pointers and sizes; no tensors, no allocation policy. A leaf
// header, included by every backend.
//
// Rules for every kernel:
// - Arrays are contiguous, unless a call has strides, and row-major; pointers are device pointers of the backend; sizes
// may be 0.
// - Kernels run in the order in which they are called; on a GPU the call may return before the kernel ran.
// - A gradient kernel takes `beta`: 0 overwrites the destination without reading it, 1 adds to it.
// - The result is the same, bit for bit, at any thread count: reductions have a fixed order.
// - NaN and infinity pass through as IEEE arithmetic has them.
#pragma once

#include <cstdint>

#include "engine/formulas.h"
#include "engine/inline.h"
#include "engine/optimizer_kernels.h"
#include "engine/random.h"

namespace crisp {

enum class ReduceOp : uint8_t { sum, mean };

/// How the elements of a broadcast binary operation map to its operands: out[i0..i5] = a[sum i*stride_a] op b[...].
/// Unused leading dimensions are 1; a stride is 0 along a broadcast dimension.
struct BroadcastPlan {
  int64_t dims[6];
  int64_t stride_a[6];
  int64_t stride_b[6];
  int64_t numel;
  bool same;  // both operands have the output's shape
};

/// Dropout with probability p of dropping; survivors are scaled by 1 / (1 - p). Element e is kept when
/// keeps(random_word(key, e), p). p = 0 draws nothing.
struct Dropout {
  double p = 0;
  RandomKey key;
};

/// How an f32 matrix product is computed. Operands, accumulation and result are f32 in every mode; f64 products are
/// always f64.
enum class MatmulPrecision : uint8_t {
  f32,     // f32 products
  bf16,    // operands rounded to bf16 (nearest even)
  bf16x3,  // each operand split into two bf16 numbers, three products: relative error about 4e-6
  bf16x6,  // each operand split into three, six products: at least as accurate as f32
  tf32,    // operands rounded to tf32, 11 significant bits, in the range of f32
};

/// c = op(a) op(b) + beta c, row-major, op(x) = x or its transpose. a is [m, k] (trans_a: [k, m]), b is [k, n]
/// (trans_b: [n, k]). After the product: c += bias (length n, may be null); where `gelu_out` is given, c keeps the
/// value before the activation and gelu_out, laid out as c, receives gelu(c). bias and gelu_out require beta = 0. Where
/// `sum_squares` is given it receives the sum of the squares of the final c (gradient clipping needs it), formed in f64
/// in an order that does not depend on the number of threads; rows of c then lie one behind the other.
///
/// Leading dimensions are elements from a row (as stored) to the next; 0: the rows lie one behind the other. What lies
/// between the rows of c is left alone.
///
/// Where `a_sums` (length m) is given it receives sum over k of op(a)[i, k] + beta_sums a_sums[i]: with op(a) the
/// transpose of the gradient at a linear layer's output, c is its weight's gradient and a_sums its bias's. It requires
/// trans_a and a batch of 1.
///
/// A device may compute a product that is `beside` the rest at the same time as the kernels that are called after it,
/// until Backend::join(): till then nobody reads what it writes (c, a_sums), nor changes what it reads or writes.
/// Memory may be given back.
///
/// `batch` products are formed, each of which has the bits of a call of its own (on a GPU up to rounding); strides are
/// elements from a product's matrix to the next one's, of gelu_out as of c. All may have one a or one b (stride 0), but
/// each its own c. bias is the same for all; sum_squares receives the sum over the products, added in their order.
template <class T>
struct GemmCall {
  MatmulPrecision precision = MatmulPrecision::f32;  // of T = float
  bool trans_a = false, trans_b = false;
  int64_t batch = 1, m = 0, n = 0, k = 0;
  const T* a = nullptr;
  int64_t lda = 0, stride_a = 0;
  const T* b = nullptr;
  int64_t ldb = 0, stride_b = 0;
  T* c = nullptr;
  int64_t ldc = 0, stride_c = 0;
  double beta = 0;
  const T* bias = nullptr;
  T* gelu_out = nullptr;
  double* sum_squares = nullptr;
  T* a_sums = nullptr;
  double beta_sums = 0;
  bool beside = false;
};

/// z = x + dropout(r), y = dropout(LayerNorm(z) * weight + bias), over rows of `cols`.
template <class T>
struct LayerNormCall {
  int64_t rows = 0, cols = 0;
  const T* x = nullptr;
  const int32_t* x_rows = nullptr;  // if given, row i is row x_rows[i] of a table x
  const T* r = nullptr;             // may be null: then z = x is not written, and x_rows must be null
  const int32_t* r_rows = nullptr;
  Dropout dropout_r;
  const T* weight = nullptr;
  const T* bias = nullptr;
  double epsilon = 0;
  T* z = nullptr;      // may be x or r itself where that is not a table
  T* stats = nullptr;  // (mean, 1 / standard deviation) per row
  T* y = nullptr;
  Dropout dropout_y;
};

/// The backward pass of LayerNormCall. dx = dz + beta_x dx and dr = dropout(dz) + beta_r dr for the gradient dz of z
/// (sums for rows of tables are the caller's: sum_rows), and the parameters' gradients. Any of the four may be null; no
/// two are the same array.
template <class T>
struct LayerNormGradient {
  int64_t rows = 0, cols = 0;
  const T* z = nullptr;
  const T* stats = nullptr;
  const T* weight = nullptr;
  const T* dy = nullptr;
  Dropout dropout_r, dropout_y;
  T* dx = nullptr;
  double beta_x = 0;
  T* dr = nullptr;
  double beta_r = 0;
  T* dweight = nullptr;
  double beta_weight = 0;
  T* dbias = nullptr;
  double beta_bias = 0;
};

/// Which keys a query keeps, decided on the scaled scores before they become weights. See AttentionRule in
/// engine/attention_rule.h.
enum class Selection : uint8_t {
  all,
  listed,           // the keys of given lists
  top_k_row,        // the k largest
  top_k_ties,       // all that are at least the k-th largest
  percentile_head,  // at or above a quantile of the head's scores
  threshold,        // at or above a number
  bottom_k,         // the k smallest
  drop_top,         // all, except that chance removes some of the n - k largest
};

/// What makes weights of the kept scores.
enum class Normaliser : uint8_t { softmax, sparsemax, entmax15 };

/// Removal of kept keys by chance, with probability p, before the weights are formed: in each row for itself (element =
/// index into `weights`), or the same `columns` for all queries of a (sequence, head) (element = index into `weights`
/// of the first query's weight).
struct KeyDropout {
  double p = 0;
  RandomKey key = {};
  bool columns = false;
};

/// How many of n keys a selection by k keeps: max(1, floor((1 - sparsity) n + 1/2)) of the decimal number that
/// `sparsity` stands for. 0.9 and its kin are not exact in binary, so a result that should be an integer and a half may
/// fall short by rounding; 1e-9 covers that and is less than any step of a sparsity given to 6 digits. Inlined by
/// force, because kernels of several instruction sets use it.
CRISP_INLINE int64_t top_k_count(double sparsity, int64_t n) {
  const auto length = static_cast<double>(n);
  const auto k = static_cast<int64_t>(length - sparsity * length + (0.5 + 1e-9));
  return k < 1 ? 1 : k;
}

/// Packed multi-head attention. Queries of sequence s are rows q_offsets[s] .. q_offsets[s+1] of q; keys and values are
/// rows kv_offsets[s] .. kv_offsets[s+1] of k and v; a row is heads * head_dim wide. Those of q lie q_row elements
/// apart, those of k and of v kv_row, and those of their gradients as they do (0: one behind the other, as the rows of
/// out and dout always do). Weights of (s, h) are a block [n_q, n_k] at heads * pair_offsets[s] + h * n_q * n_k of
/// `weights`; what lies in a row is between a backend's forward and backward pass. AttentionRule in
/// engine/attention_rule.h says what the fields from `selection` on mean.
struct AttentionShape {
  int64_t batch = 0, heads = 0, head_dim = 0;
  const int32_t* q_offsets = nullptr;
  const int32_t* kv_offsets = nullptr;
  const int32_t* pair_offsets = nullptr;     // n_q * n_k of the sequences before
  int64_t queries = 0, keys = 0, pairs = 0;  // the last offsets, for a backend whose host cannot read them
  int64_t q_row = 0, kv_row = 0;
  double scale = 1;  // scores = scale * q k'
  Selection selection = Selection::all;
  double sparsity = 0;  // in (0, 1) for the selections that go by it
  double threshold = 0;
  double drop_p = 0;
  RandomKey drop_key = {};
  /// Row r of q, head h: keys list_keys[list_starts[i] .. list_starts[i + 1]] with i = h * list_stride + r.
  const int32_t* list_starts = nullptr;
  const int32_t* list_keys = nullptr;
  int64_t list_stride = 0;
  bool keep_first = false, keep_last = false, keep_diagonal = false;
  Normaliser normaliser = Normaliser::softmax;
  KeyDropout key_dropout = {};
  double span_ramp = 0;  // above 0: there is a span
  /// On the weights. The element of a weight is its key's index into `weights`; but a row of which at most half of the
  /// keys have a part in the weights (AttentionCall::counts) draws numbers for these alone: the j-th of them, from 0
  /// and in the order of keys, has the element of key j.
  Dropout dropout = {};
};

/// Whether dropout of a row of n_k keys, `count` of which have a part in the weights, goes by place: see
/// AttentionShape::dropout.
CRISP_INLINE bool drops_by_place(int64_t count, int64_t n_k) { return 2 * count <= n_k; }
/// How attention's forward pass leaves a weight for the backward pass, which draws nothing again: with a sign, which no
/// weight has, where the factor f drops it.
template <class T>
CRISP_INLINE T marked_weight(T w, T f) {
  return f == T{} ? -w : w;
}

/// Whether rows go by lists of kept keys; else all keys take part, in a plain softmax.
CRISP_INLINE bool by_lists(const AttentionShape& s) {
  return s.selection != Selection::all || s.normaliser != Normaliser::softmax || s.key_dropout.p > 0 || s.span_ramp > 0;
}

/// out = dropout(weights) v.
template <class T>
struct AttentionCall {
  const T* q = nullptr;
  const T* k = nullptr;
  const T* v = nullptr;
  const T* span = nullptr;  // [heads], with a span_ramp
  T* weights = nullptr;
  int32_t* counts = nullptr;  // with by_lists(): how many keys have a part in the weights of row r of q, head h, at
                              // q_offsets[s] * heads + h * n_q + (r - q_offsets[s]) for the row's sequence s
  T* out = nullptr;
  // Null, or [3, batch, heads]: how many pairs have a part in the weights; the sum over queries of the weights' entropy
  // in nats; and that of the log of how many keys were kept before the normaliser.
  double* stats = nullptr;
};

/// Any of the gradients may be null; no two are the same array.
template <class T>
struct AttentionGradient {
  const T* q = nullptr;
  const T* k = nullptr;
  const T* v = nullptr;
  const T* span = nullptr;
  const T* weights = nullptr;
  const int32_t* counts = nullptr;
  const T* dout = nullptr;
  T* dq = nullptr;
  double beta_q = 0;
  T* dk = nullptr;
  double beta_k = 0;
  T* dv = nullptr;
  double beta_v = 0;
  T* dspan = nullptr;
  double beta_span = 0;
  double* span_sums = nullptr;  // with dspan, room for a sum per (sequence, head)
};

/// Sums of rows of x, by a plan (Rows in engine/plan.h): what embeddings' gradients are made of. Sum i is over the rows
/// order[starts[i]] .. order[starts[i + 1] - 1] of x, added one after the other to what there was before: to row
/// old_of[i] of `old` (-1: nothing) where old_of is given, else to what is in its place, with beta = 1. A sum of no
/// rows without anything before it is 0. It goes to row `to[i]` of out, or to row i where `to` is null.
template <class T>
struct SumRowsCall {
  int64_t count = 0, cols = 0;
  const int32_t* starts = nullptr;
  const int32_t* order = nullptr;
  const T* x = nullptr;
  const int32_t* to = nullptr;
  T* out = nullptr;
  double beta = 0;
  const int32_t* old_of = nullptr;
  const T* old = nullptr;  // does not overlap out
};

/// One table per backend and compute type, without a null entry: where a backend has no such kernel, the entry throws
/// Error with its name.
template <class T>
struct Kernels {
  // elementwise
  /// y may be x.
  void (*unary)(UnaryOp, int64_t n, const T* x, T* y);
  void (*unary_backward)(UnaryOp, int64_t n, const T* x, const T* y, const T* dy, T* dx, double beta);
  /// dx = dy gelu'(x) over [rows, cols], y = gelu(x) and dbias[c] = sum over rows of dx + beta dbias[c]; y and dbias
  /// may be null. dx may be dy, y may be x; where there is no y, dx may be x.
  void (*gelu_backward)(int64_t rows, int64_t cols, const T* x, const T* dy, T* dx, T* y, T* dbias, double beta);
  void (*binary)(BinaryOp, const BroadcastPlan&, const T* a, const T* b, T* out);
  /// Gradient for operand a (wrt = 0) or b (wrt = 1), summed over the dimensions along which it was broadcast.
  void (*binary_backward)(BinaryOp, int wrt, const BroadcastPlan&, const T* a, const T* b, const T* dy, T* dx,
                          double beta);
  /// out = alpha x + beta out
  void (*scale)(int64_t n, double alpha, const T* x, T* out, double beta);
  void (*dropout)(int64_t n, const Dropout&, const T* x, T* y, double beta);

  // reductions and moves over [outer, n, inner]
  void (*reduce)(ReduceOp, int64_t outer, int64_t n, int64_t inner, const T* x, T* out);
  void (*reduce_backward)(ReduceOp, int64_t outer, int64_t n, int64_t inner, const T* dy, T* dx, double beta);
  /// index: position along n of the first maximum; a NaN counts as larger than everything.
  void (*max)(int64_t outer, int64_t n, int64_t inner, const T* x, T* out, int32_t* index);
  void (*max_backward)(int64_t outer, int64_t n, int64_t inner, const T* dy, const int32_t* index, T* dx, double beta);
  /// out[r, c] = x[r, c] + beta out[r, c] on [rows, cols] blocks with row strides (x_stride 0: one row for all); slices
  /// and concatenations are made of it.
  void (*copy_2d)(int64_t rows, int64_t cols, const T* x, int64_t x_stride, T* out, int64_t out_stride, double beta);
  /// out[b, c, r] = x[b, r, c] + beta out[b, c, r]
  void (*transpose)(int64_t batch, int64_t rows, int64_t cols, const T* x, T* out, double beta);
  /// out[c] = sum over r of x[r, c] + beta out[c], of rows x_stride apart
  void (*column_sum)(int64_t rows, int64_t cols, const T* x, int64_t x_stride, T* out, double beta);
  /// Of each of `count` matrices: see SquaresOf. No two have one `out`.
  void (*sum_squares)(int64_t count, const SquaresOf<T>* matrices);
  /// *out = 1 if every element is finite, else 0.
  void (*all_finite)(int64_t n, const T* x, int32_t* out);

  void (*fill)(int64_t n, double value, T* x);
  /// x = min(max(x, low), high); a NaN stays. `clip` may be null; where it says that the step is not finite, nothing is
  /// changed.
  void (*clamp)(int64_t n, double low, double high, T* x, const ClipResult* clip);

  // matrix product
  void (*gemm)(const GemmCall<T>&);

  // normalisation, over the last dimension
  void (*softmax)(int64_t rows, int64_t cols, const T* x, T* y);
  void (*softmax_backward)(int64_t rows, int64_t cols, const T* y, const T* dy, T* dx, double beta);
  void (*log_softmax)(int64_t rows, int64_t cols, const T* x, T* y);
  void (*log_softmax_backward)(int64_t rows, int64_t cols, const T* y, const T* dy, T* dx, double beta);
  void (*layer_norm)(const LayerNormCall<T>&);
  void (*layer_norm_backward)(const LayerNormGradient<T>&);

  // rows of tables
  /// out[i] = table[ids[i]] + beta out[i]; ids have been checked.
  void (*gather_rows)(int64_t n, int64_t cols, const int32_t* ids, const T* table, T* out, double beta);
  void (*sum_rows)(const SumRowsCall<T>&);

  // loss
  /// losses[i] = -log softmax(logits[i])[labels[i]]; probabilities receives the softmax.
  void (*cross_entropy)(int64_t rows, int64_t cols, const T* logits, const int32_t* labels, T* losses,
                        T* probabilities);
  /// dlogits = *dy / rows * (probabilities - onehot) + beta dlogits
  void (*cross_entropy_backward)(int64_t rows, int64_t cols, const T* probabilities, const int32_t* labels, const T* dy,
                                 T* dlogits, double beta);

  // attention
  /// A key that was not selected has weight 0 and takes no further part: its value is not read, so an infinity there
  /// does no harm. A selected key whose weight underflowed to 0 or was dropped does take part: 0 times an infinite
  /// value is NaN.
  void (*attention)(const AttentionShape&, const AttentionCall<T>&);
  /// `weights` and `counts` as the forward pass left them. Unless all keys are selected, one whose weight is exactly 0
  /// may be left out. Through a dropped weight nothing flows back to the scores. The terms left out have a factor 0;
  /// they could differ from 0 only where the other factor is infinite or NaN.
  void (*attention_backward)(const AttentionShape&, const AttentionGradient<T>&);

  // optimizer
  /// First moments that are too small to move a weight become 0, so that none ends as a denormal number: see
  /// AdamW in engine/formulas.h.
  /// `clip` may be null; where it says that the step is not finite, nothing is changed.
  void (*adamw)(int64_t count, const AdamWUpdate<T>* updates, const ClipResult* clip);
  /// Brings n rows of a table [.., cols] up to date: see AdamWRowsCall.
  void (*adamw_rows)(const AdamWRowsCall<T>&, const ClipResult* clip);
  void (*clip)(const ClipCall<T>&);
};

}  // namespace crisp
