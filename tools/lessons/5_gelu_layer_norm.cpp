// Lesson 5: GELU, a function of one number; LayerNorm, where each element moves the mean and the variance of its row.
//
// Read beside it: Gelu and LayerNorm in engine/formulas.h, engine/ops/layer_norm.cpp. README.md leads through.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "engine/gradcheck.h"
#include "engine/ops.h"

using namespace crisp;

namespace {

using Numbers = std::vector<double>;

Tensor row(const Numbers& x) { return Tensor::from(x, {static_cast<int64_t>(x.size())}, DType::f64); }

double mean_of(const Numbers& x) {
  double total = 0;
  for (const double element : x) total += element;
  return total / static_cast<double>(x.size());
}

Numbers product(const Numbers& x, const Numbers& y) {
  Numbers z;
  for (size_t i = 0; i < x.size(); ++i) z.push_back(x[i] * y[i]);
  return z;
}

int claims_wrong = 0;

void claim(bool holds, const char* what) {
  fmt::print("{} {}\n", holds ? "ok   " : "WRONG", what);
  claims_wrong += holds ? 0 : 1;
}

void gelu_lesson() {
  const Numbers x{-3, -1, -0.5, 0.5, 1, 3};
  const Tensor input = row(x).set_requires_grad();
  Tape tape;
  const Tensor y = gelu(tape, input);
  tape.backward(sum(tape, y));
  const Numbers value = y.to_vector(), slope = input.grad().to_vector();
  fmt::print("     x      gelu     gelu'   by tanh\n");
  double error = 0, tanh_error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double cdf = std::erfc(-x[i] / std::numbers::sqrt2) / 2;                        // Phi(x)
    const double density = std::exp(-x[i] * x[i] / 2) / std::sqrt(2 * std::numbers::pi);  // phi(x)
    const double inner = std::sqrt(2 / std::numbers::pi) * (x[i] + 0.044715 * x[i] * x[i] * x[i]);
    const double by_tanh = x[i] / 2 * (1 + std::tanh(inner));
    fmt::print("{:6.1f}  {:8.5f}  {:8.5f}  {:8.5f}\n", x[i], value[i], slope[i], by_tanh);
    error += std::abs(value[i] - x[i] * cdf) + std::abs(slope[i] - (cdf + x[i] * density));
    tanh_error = std::max(tanh_error, std::abs(value[i] - by_tanh));
  }
  claim(error < 1e-12, "gelu is x Phi(x), its derivative Phi(x) + x phi(x), to 1e-12");
  claim(tanh_error > 3e-4 && tanh_error < 5e-4, "the form with tanh is another function, off by 0.0004 here\n");
}

void layer_norm_lesson() {
  const Numbers x{1, 2, 4, 8}, w{1, 0.5, 2, -1}, b{0, 1, 0, 0.5}, dy{1, -1, 0.5, 2};
  constexpr double epsilon = 1e-12;
  const Tensor input = row(x).set_requires_grad(), weight = row(w).set_requires_grad(), bias = row(b);
  Tape tape;
  const Tensor y = layer_norm(tape, input, weight, bias, epsilon);
  tape.backward(sum(tape, mul(tape, y, row(dy))));
  const Numbers value = y.to_vector(), by_tape = input.grad().to_vector();

  const double mean = mean_of(x), r = 1 / std::sqrt(mean_of(product(x, x)) - mean * mean + epsilon);
  Numbers n;
  for (const double element : x) n.push_back((element - mean) * r);
  const Numbers h = product(dy, w), hn = product(h, n);
  fmt::print("    x         n         y        dy    dx by hand  by tape   r h alone\n");
  double error = 0, constant_error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double dx = r * (h[i] - mean_of(h) - n[i] * mean_of(hn));
    fmt::print("{:5.1f}  {:8.5f}  {:8.5f}  {:8.1f}  {:8.5f}  {:8.5f}  {:8.5f}\n", x[i], n[i], value[i], dy[i], dx,
               by_tape[i], r * h[i]);
    error += std::abs(dx - by_tape[i]) + std::abs(value[i] - (n[i] * w[i] + b[i]));
    constant_error += std::abs(r * h[i] - by_tape[i]);
  }
  claim(error < 1e-12, "dx = r (h - mean(h) - n mean(h n)) with h = dy w, to 1e-12");
  claim(constant_error > 0.1, "mean and variance taken for constants give r h: another gradient");
  claim(std::abs(mean_of(by_tape)) < 1e-12, "dx adds up to 0: a shift of all x changes nothing");
  claim(std::abs(mean_of(product(by_tape, n))) < 1e-9, "dx n adds up to 0: neither does a stretch about the mean");
  const auto f = [](Tape& t, std::span<const Tensor> in) { return layer_norm(t, in[0], in[1], in[2], epsilon); };
  claim(check_gradients(f, {input, weight, bias}).passes(1e-9), "four-point differences agree to 1e-9");
}

}  // namespace

int main() {
  gelu_lesson();
  layer_norm_lesson();
  return claims_wrong;
}
