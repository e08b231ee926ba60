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

// One of the matrices that a product for each head is made of: where the first head's begins, how far its rows are
// apart (0: one behind the other), and how far the next head's matrix is.
template <class T>
struct OfHeads {
  T* first;
  int64_t row, head;
};
// A head has columns of its own of each narrow row, a wide row of its own and rows of its own of the parameters.
template <class T>
OfHeads<T> narrow_rows(const Projection& p, T* narrow) {
  return {narrow, p.dim(), p.head_dim()};
}
template <class T>
OfHeads<T> wide_rows(const Projection& p, T* wide) {
  return {wide, p.heads * p.width, p.width};
}
template <class T>
OfHeads<T> weight_rows(const Projection& p, T* weight) {
  return {weight, 0, p.head_dim() * p.in()};
}
template <class T>
OfHeads<T> bias_rows(const Projection& p, T* bias) {
  return {bias, 0, p.head_dim()};
}

// The product of each head, [m, k] and [k, n]: c = op(a) op(b) + beta c.
template <class T>
GemmCall<T> product(const Projection& p, int64_t m, int64_t n, int64_t k, OfHeads<const T> a, OfHeads<const T> b,
                    OfHeads<T> c, double beta) {
  return {.batch = p.heads,
          .m = m,
          .n = n,
          .k = k,
          .a = a.first,
          .lda = a.row,
          .stride_a = a.head,
          .b = b.first,
          .ldb = b.row,
          .stride_b = b.head,
          .c = c.first,
          .ldc = c.row,
          .stride_c = c.head,
          .beta = beta};
}

// wide row (i, h) = (narrow_ih W_h | narrow_ih b_h | 0) + beta wide
template <class T>
void widen(const KernelCall<T>& k, const Projection& p, const T* narrow, T* wide, double beta) {
  const int64_t d = p.head_dim(), in = p.in(), rest = p.width - in - 1;
  const OfHeads<const T> rows = narrow_rows(p, narrow);
  GemmCall<T> inputs = product<T>(p, p.n, in, d, rows, weight_rows<const T>(p, k(p.weight)), wide_rows(p, wide), beta);
  inputs.precision = k.precision;
  k->gemm(inputs);
  k->gemm(product<T>(p, p.n, 1, d, rows, bias_rows<const T>(p, k(p.bias)), wide_rows(p, wide + in), beta));
  if (beta != 0) return;
  const Tensor zeros = Tensor::zeros({rest}, dtype_of<T>, p.weight.device());
  k->copy_2d(p.n * p.heads, rest, k(zeros), 0, wide + in + 1, p.width, 0);
}

// narrow_ih = W_h wide_ih[0..in) + b_h wide_ih[in] + beta narrow
template <class T>
void narrow_down(const KernelCall<T>& k, const Projection& p, const T* wide, T* narrow, double beta) {
  const int64_t d = p.head_dim(), in = p.in();
  const OfHeads<T> rows = narrow_rows(p, narrow);
  GemmCall<T> inputs = product<T>(p, p.n, d, in, wide_rows(p, wide), weight_rows<const T>(p, k(p.weight)), rows, beta);
  inputs.precision = k.precision;
  inputs.trans_b = true;
  k->gemm(inputs);
  k->gemm(product<T>(p, p.n, d, 1, wide_rows(p, wide + in), bias_rows<const T>(p, k(p.bias)), rows, 1));
}

// dW_h = narrow_h' wide_h[0..in), db_h = narrow_h' wide_h[in]: of either map, with what it reads and the gradient of
// what it writes.
template <class T>
void parameter_gradients(const KernelCall<T>& k, const Projection& p, const T* narrow, const T* wide) {
  const int64_t d = p.head_dim(), in = p.in();
  const OfHeads<const T> rows = narrow_rows(p, narrow);
  if (const GradTarget dw = p.weight.grad_target()) {
    GemmCall<T> call = product<T>(p, d, in, p.n, rows, wide_rows(p, wide), weight_rows(p, k(dw)), dw.beta);
    call.precision = k.precision;
    call.trans_a = true;
    call.sum_squares = k.f64(dw.sum_squares());
    k->gemm(call);
  }
  if (const GradTarget db = p.bias.grad_target()) {
    GemmCall<T> call = product<T>(p, d, 1, p.n, rows, wide_rows(p, wide + in), bias_rows(p, k(db)), db.beta);
    call.trans_a = true;
    k->gemm(call);
  }
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
