// Lesson 6: attention; built from products and a softmax, differentiated by hand, and in one fused operation.
//
// Read beside it: engine/ops/attention.cpp, and attention() in engine/ops.h. README.md leads through.
#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "engine/ops.h"

using namespace crisp;

namespace {

constexpr int64_t tokens = 5, dim = 2;
const double scaling = 1 / std::sqrt(2.0);  // of scores: 1 / sqrt(dim)

Tensor rows(const std::vector<double>& elements) { return Tensor::from(elements, {tokens, dim}, DType::f64); }

double distance(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector(), y = b.to_vector();
  double total = 0;
  for (size_t i = 0; i < x.size(); ++i) total += std::abs(x[i] - y[i]);
  return total;
}

// A line for each token: its row of each tensor.
void show(const char* names, const std::vector<Tensor>& columns) {
  fmt::print("token  {}\n", names);
  for (int64_t t = 0; t < tokens; ++t) {
    fmt::print("{:5}", t);
    for (const Tensor& column : columns) {
      fmt::print("  ");
      for (const double x : column.view_rows(t, 1).to_vector()) fmt::print(" {:7.4f}", x);
    }
    fmt::print("\n");
  }
}

struct Operands {
  Tensor q = rows({1, 0, 0, 1, 1, 1, -1, 0.5, 0.5, -1}).set_requires_grad();
  Tensor k = rows({1, 0.5, -0.5, 1, 0, -1, 1, 1, -1, 0.5}).set_requires_grad();
  Tensor v = rows({1, 0, 0, 2, -1, 1, 3, -1, 0.5, 0.5}).set_requires_grad();
};

double gradient_distance(const Operands& a, const Operands& b) {
  return distance(a.q.grad(), b.q.grad()) + distance(a.k.grad(), b.k.grad()) + distance(a.v.grad(), b.v.grad());
}

int claims_wrong = 0;

void claim(bool holds, const char* what) {
  fmt::print("{} {}\n", holds ? "ok   " : "WRONG", what);
  claims_wrong += holds ? 0 : 1;
}

}  // namespace

int main() {
  const Tensor dy = rows({1, -1, 0.5, 1, -1, 2, 1, 1, -0.5, 1});  // the loss is sum(dy * y)

  const Operands built;
  Tape tape;
  const Tensor p = softmax(tape, scale(tape, matmul(tape, built.q, built.k, false, true), scaling));
  const Tensor y = matmul(tape, p, built.v);
  tape.backward(sum(tape, mul(tape, y, dy)));
  show(" weights p = softmax(q k' / sqrt(dim))      y = p v", {p.detach(), y.detach()});

  // By hand, as products: what each line above makes of dy, from the last to the first.
  Tape hand(Tape::Mode::inference);
  const Tensor q = built.q.detach(), k = built.k.detach(), v = built.v.detach(), weights = p.detach();
  const Tensor dv = matmul(hand, weights, dy, true);                                     // y = p v
  const Tensor dp = matmul(hand, dy, v, false, true);                                    // y = p v
  const Tensor mean = reshape(hand, sum(hand, mul(hand, weights, dp), 1), {tokens, 1});  // sum(p dp) of each row
  const Tensor ds = mul(hand, weights, sub(hand, dp, mean));                             // p = softmax(s)
  const Tensor dq = scale(hand, matmul(hand, ds, k), scaling);                           // s = q k' / sqrt(dim)
  const Tensor dk = scale(hand, matmul(hand, ds, q, true), scaling);
  fmt::print("\n");
  show("      dq                 dk                 dv", {dq, dk, dv});
  const double error = distance(dq, built.q.grad()) + distance(dk, built.k.grad()) + distance(dv, built.v.grad());
  claim(error < 1e-12, "by hand and by tape, gradients differ by less than 1e-12");

  const Operands fused;
  const Segments one = on(Device::cpu, Segments(std::vector<int32_t>{0, tokens}));  // one sequence of all rows
  Tape short_tape;
  const AttentionRule rule{.scale = scaling};
  const Tensor y_fused = attention(short_tape, fused.q, fused.k, fused.v, one, rule);
  claim(short_tape.nodes().size() == 1, "attention() is one node where the other tape has four");
  short_tape.backward(sum(short_tape, mul(short_tape, y_fused, dy)));
  claim(distance(y.detach(), y_fused.detach()) < 1e-12, "its result is the same to 1e-12");
  claim(gradient_distance(built, fused) < 1e-12, "so are its gradients\n");

  // Packed: two sequences one behind the other, of 3 and 2 tokens. No mask, no padding: other pairs are never computed.
  const Segments two = on(Device::cpu, Segments(std::vector<int32_t>{0, 3, tokens}));
  show(" weights of two sequences, each its own keys", {attention_weights(tape.context(), q, k, two, rule)});
  return claims_wrong;
}
