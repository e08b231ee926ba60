// Matrix products over the last two dimensions. Transposition is a flag of the product, never a copy. Saves both
// operands.
#include <fmt/format.h>

#include "engine/op.h"
#include "engine/ops.h"

namespace crisp {

extern const Op matmul_op;

namespace {

// The sizes of one product c [m, n] = op(a) op(b) with inner dimension k, repeated over a batch.
struct Sizes {
  int64_t batch = 1, m, n, k;
};

// c [m, n] = op(a) op(b) + beta c with inner dimension `depth`, for a batch of matrices one behind the other.
template <class T>
void products(const KernelCall<T>& k, int64_t batch, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t depth,
              const T* a, const T* b, T* c, double beta) {
  k->gemm({.precision = k.precision,
           .trans_a = trans_a,
           .trans_b = trans_b,
           .batch = batch,
           .m = m,
           .n = n,
           .k = depth,
           .a = a,
           .stride_a = m * depth,
           .b = b,
           .stride_b = depth * n,
           .c = c,
           .stride_c = m * n,
           .beta = beta});
}

}  // namespace

Tensor matmul(Tape& tape, const Tensor& a, const Tensor& b, bool trans_a, bool trans_b) {
  if (!a || !b) fail_operands(tape, matmul_op, "an operand is missing", {{"a", a}, {"b", b}});
  check_same_type(tape, matmul_op, {{"a", a}, {"b", b}});
  if (a.rank() < 2 || a.rank() != b.rank())
    fail_operands(tape, matmul_op, "a and b need the same number of dimensions, at least two", {{"a", a}, {"b", b}});
  Sizes s{.m = a.dim(trans_a ? -1 : -2), .n = b.dim(trans_b ? -2 : -1), .k = a.dim(trans_a ? -2 : -1)};
  if (b.dim(trans_b ? -1 : -2) != s.k)
    fail_operands(
        tape, matmul_op,
        fmt::format("inner dimensions differ{}{}", trans_a ? ", a transposed" : "", trans_b ? ", b transposed" : ""),
        {{"a", a}, {"b", b}});
  for (int i = 0; i + 2 < a.rank(); ++i) {
    if (a.dim(i) != b.dim(i)) fail_operands(tape, matmul_op, "leading dimensions differ", {{"a", a}, {"b", b}});
    s.batch *= a.dim(i);
  }
  const Tensor y = tape.output(matmul_op, a.shape().with(-2, s.m).with(-1, s.n), a.dtype(), {a, b});
  run(tape, y, [&](auto k) { products(k, s.batch, trans_a, trans_b, s.m, s.n, s.k, k(a), k(b), k(y), 0); });
  const double flops = 2.0 * static_cast<double>(s.batch * s.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
  tape.record(matmul_op, y, flops, [a, b, trans_a, trans_b, s](const Context& context, const Tensor& dy) {
    run(context, dy, [&](auto k) {
      if (const GradTarget da = a.grad_target()) {
        if (trans_a) {  // [k, m] = op(b) dy'
          products(k, s.batch, trans_b, true, s.k, s.m, s.n, k(b), k(dy), k(da), da.beta);
        } else {  // [m, k] = dy op(b)'
          products(k, s.batch, false, !trans_b, s.m, s.k, s.n, k(dy), k(b), k(da), da.beta);
        }
      }
      if (const GradTarget db = b.grad_target()) {
        if (trans_b) {  // [n, k] = dy' op(a)
          products(k, s.batch, true, trans_a, s.n, s.k, s.m, k(dy), k(a), k(db), db.beta);
        } else {  // [k, n] = op(a)' dy
          products(k, s.batch, !trans_a, false, s.k, s.n, s.m, k(a), k(dy), k(db), db.beta);
        }
      }
    });
  });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

std::vector<Sample> matmul_samples() {
  const auto run = [](bool trans_a, bool trans_b) {
    return [=](Tape& t, std::span<const Tensor> in) { return matmul(t, in[0], in[1], trans_a, trans_b); };
  };
  return {
      {"a b", {sample_input({3, 4}, 1), sample_input({4, 2}, 2)}, run(false, false)},
      {"a' b", {sample_input({4, 3}, 3), sample_input({4, 2}, 4)}, run(true, false)},
      {"a b'", {sample_input({3, 4}, 5), sample_input({2, 4}, 6)}, run(false, true)},
      {"a' b'", {sample_input({4, 3}, 7), sample_input({2, 4}, 8)}, run(true, true)},
      {"batch", {sample_input({2, 3, 4}, 9), sample_input({2, 5, 4}, 10)}, run(false, true)},
      {"one row", {sample_input({1, 4}, 11), sample_input({4, 3}, 12)}, run(false, false)},
      {"no rows", {sample_input({0, 4}, 13), sample_input({4, 3}, 14)}, run(false, false)},
      {"no inner elements", {sample_input({2, 0}, 15), sample_input({0, 3}, 16)}, run(false, false)},
  };
}

}  // namespace

const Op matmul_op{"matmul", matmul_samples};

}  // namespace crisp
