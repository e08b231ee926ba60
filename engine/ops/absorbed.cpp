// Key and value projections absorbed by the queries' side, per head. Where a sequence has few queries, attention on the
// layer's inputs themselves is far cheaper than projecting every one of them to a key and a value:
//   q . (W_k x + b_k) = (q W_k) . x + q . b_k,      sum_j p_j (W_v x_j + b_v) = W_v (sum_j p_j x_j) + b_v sum_j p_j.
// Both are linear maps between "narrow" rows [n, heads * head_dim] and "wide" rows [n * heads, width], which hold the
// input's dimensions, then one for the bias, then zeros; each is the other's adjoint. Products with the bias are of the
// tensors' own type in every MatmulPrecision, as linear() adds its bias.
#include <fmt/format.h>

#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op absorb_keys_op, absorb_values_op;

namespace {

// The heads of one projection: weight [heads * head_dim, in], bias [heads * head_dim].
struct Projection {
  Tensor weight, bias;
  int64_t heads, n, width;  // n narrow rows

  int64_t in() const { return weight.dim(1); }
  int64_t dim() const { return weight.dim(0); }
  int64_t head_dim() const { return dim() / heads; }
};

// In the products below the heads are a batch: a head has columns of its own of each narrow row, a wide row of its own
// and rows of its own of the weight.

// wide row (i, h) = (narrow_ih W_h | narrow_ih b_h | 0) + beta wide
template <class T>
void widen(const KernelCall<T>& k, const Projection& p, const T* narrow, T* wide, double beta) {
  const int64_t d = p.head_dim(), in = p.in(), rest = p.width - in - 1, row = p.heads * p.width;
  k->gemm({.precision = k.precision,
           .batch = p.heads,
           .m = p.n,
           .n = in,
           .k = d,
           .a = narrow,
           .lda = p.dim(),
           .stride_a = d,
           .b = k(p.weight),
           .stride_b = d * in,
           .c = wide,
           .ldc = row,
           .stride_c = p.width,
           .beta = beta});
  k->gemm({.batch = p.heads,
           .m = p.n,
           .n = 1,
           .k = d,
           .a = narrow,
           .lda = p.dim(),
           .stride_a = d,
           .b = k(p.bias),
           .stride_b = d,
           .c = wide + in,
           .ldc = row,
           .stride_c = p.width,
           .beta = beta});
  if (beta != 0) return;
  const Tensor zeros = Tensor::zeros({rest}, dtype_of<T>, p.weight.device());
  k->copy_2d(p.n * p.heads, rest, k(zeros), 0, wide + in + 1, p.width, 0);
}

// narrow_ih = W_h wide_ih[0..in) + b_h wide_ih[in] + beta narrow
template <class T>
void narrow_down(const KernelCall<T>& k, const Projection& p, const T* wide, T* narrow, double beta) {
  const int64_t d = p.head_dim(), in = p.in(), row = p.heads * p.width;
  k->gemm({.precision = k.precision,
           .trans_b = true,
           .batch = p.heads,
           .m = p.n,
           .n = d,
           .k = in,
           .a = wide,
           .lda = row,
           .stride_a = p.width,
           .b = k(p.weight),
           .stride_b = d * in,
           .c = narrow,
           .ldc = p.dim(),
           .stride_c = d,
           .beta = beta});
  k->gemm({.batch = p.heads,
           .m = p.n,
           .n = d,
           .k = 1,
           .a = wide + in,
           .lda = row,
           .stride_a = p.width,
           .b = k(p.bias),
           .stride_b = d,
           .c = narrow,
           .ldc = p.dim(),
           .stride_c = d,
           .beta = 1});
}

// dW_h = narrow_h' wide_h[0..in), db_h = narrow_h' wide_h[in]: of either map, with what it reads and the gradient of
// what it writes.
template <class T>
void parameter_gradients(const KernelCall<T>& k, const Projection& p, const T* narrow, const T* wide) {
  const int64_t d = p.head_dim(), in = p.in(), row = p.heads * p.width;
  if (const GradTarget dw = p.weight.grad_target())
    k->gemm({.precision = k.precision,
             .trans_a = true,
             .batch = p.heads,
             .m = d,
             .n = in,
             .k = p.n,
             .a = narrow,
             .lda = p.dim(),
             .stride_a = d,
             .b = wide,
             .ldb = row,
             .stride_b = p.width,
             .c = k(dw),
             .stride_c = d * in,
             .beta = dw.beta,
             .sum_squares = k.f64(dw.sum_squares())});
  if (const GradTarget db = p.bias.grad_target())
    k->gemm({.trans_a = true,
             .batch = p.heads,
             .m = d,
             .n = 1,
             .k = p.n,
             .a = narrow,
             .lda = p.dim(),
             .stride_a = d,
             .b = wide + in,
             .ldb = row,
             .stride_b = p.width,
             .c = k(db),
             .stride_c = d,
             .beta = db.beta});
}

void check_projection(const Tape& tape, const Op& op, const Operand& rows, const Projection& p, int64_t narrow_dim) {
  const auto complain = [&](const char* problem) {
    fail_operands(tape, op, problem, {rows, {"weight", p.weight}, {"bias", p.bias}});
  };
  check_same_type(tape, op, {rows, {"weight", p.weight}, {"bias", p.bias}});
  if (!rows.tensor || !p.weight || !p.bias) complain("all operands are needed");
  if (rows.tensor.rank() != 2 || p.weight.rank() != 2 || p.bias.shape() != Shape{p.dim()})
    complain("rows, weight [dim, in] and bias [dim] are needed");
  if (p.heads < 1 || p.dim() % p.heads != 0 || narrow_dim != p.dim()) complain("dim does not divide into the heads");
  if (p.width < p.in() + 1) complain("the wide rows have no place for the inputs and the bias");
}

double flops_of(const Projection& p) { return 2.0 * static_cast<double>(p.n * p.dim()) * static_cast<double>(p.in()); }

}  // namespace

Tensor absorb_keys(Tape& tape, const Tensor& q, const Tensor& weight, const Tensor& bias, int64_t heads,
                   int64_t width) {
  const Projection p{weight, bias, heads, q && q.rank() == 2 ? q.dim(0) : 0, width};
  check_projection(tape, absorb_keys_op, {"q", q}, p, q && q.rank() == 2 ? q.dim(1) : 0);
  const Tensor wide = tape.output(absorb_keys_op, {p.n * heads, width}, q.dtype(), {q, weight, bias});
  run(tape, q, [&](auto k) { widen(k, p, k(q), k(wide), 0); });
  tape.record(absorb_keys_op, wide, flops_of(p), [q, p](const Context& context, const Tensor& d) {
    run(context, d, [&](auto k) {
      if (const GradTarget dq = q.grad_target()) narrow_down(k, p, k(d), k(dq), dq.beta);
      parameter_gradients(k, p, k(q), k(d));
    });
  });
  return wide;
}

Tensor absorb_values(Tape& tape, const Tensor& sums, const Tensor& weight, const Tensor& bias, int64_t heads) {
  const bool matrix = sums && sums.rank() == 2 && heads > 0;
  const Projection p{weight, bias, heads, matrix ? sums.dim(0) / heads : 0, matrix ? sums.dim(1) : 0};
  check_projection(tape, absorb_values_op, {"sums", sums}, p, weight && weight.rank() == 2 ? weight.dim(0) : 0);
  if (p.n * heads != sums.dim(0))
    fail_operands(tape, absorb_values_op, fmt::format("the rows are no multiple of {} heads", heads), {{"sums", sums}});
  const Tensor narrow = tape.output(absorb_values_op, {p.n, p.dim()}, sums.dtype(), {sums, weight, bias});
  run(tape, sums, [&](auto k) { narrow_down(k, p, k(sums), k(narrow), 0); });
  tape.record(absorb_values_op, narrow, flops_of(p), [sums, p](const Context& context, const Tensor& d) {
    run(context, d, [&](auto k) {
      if (const GradTarget ds = sums.grad_target()) widen(k, p, k(d), k(ds), ds.beta);
      parameter_gradients(k, p, k(d), k(sums));
    });
  });
  return narrow;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

constexpr int64_t sample_width = 6;  // 4 inputs, the bias, one zero

std::vector<Sample> absorb_keys_samples() {
  const Tensor weight = sample_input({6, 4}, 2), bias = sample_input({6}, 3);
  const auto run = [](Tape& tape, std::span<const Tensor> in) {
    return absorb_keys(tape, in[0], in[1], in[2], 2, sample_width);
  };
  return {
      {"two heads", {sample_input({3, 6}, 1), weight, bias}, run},
      {"one query", {sample_input({1, 6}, 4), weight, bias}, run},
      {"no queries", {sample_input({0, 6}, 5), weight, bias}, run},
  };
}

std::vector<Sample> absorb_values_samples() {
  const Tensor weight = sample_input({6, 4}, 2), bias = sample_input({6}, 3);
  const auto run = [](Tape& tape, std::span<const Tensor> in) { return absorb_values(tape, in[0], in[1], in[2], 2); };
  return {
      {"two heads", {sample_input({6, sample_width}, 1), weight, bias}, run},
      {"one query", {sample_input({2, sample_width}, 4), weight, bias}, run},
      {"no queries", {sample_input({0, sample_width}, 5), weight, bias}, run},
  };
}

}  // namespace

const Op absorb_keys_op{"absorb_keys", absorb_keys_samples};
const Op absorb_values_op{"absorb_values", absorb_values_samples};

}  // namespace crisp
