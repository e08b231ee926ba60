// Lesson 4: softmax and cross-entropy; their gradient by hand, by tape, and by differences.
//
// Read beside it: Softmax, normaliser_gradient and CrossEntropy in engine/formulas.h, engine/ops/softmax.cpp,
// engine/ops/cross_entropy.cpp, engine/gradcheck.h. README.md leads through.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/gradcheck.h"
#include "engine/ops.h"

using namespace crisp;

namespace {

using Numbers = std::vector<double>;
constexpr size_t rows = 2, classes = 3;
const std::vector<int32_t> labels{0, 1};

// The largest is subtracted first: e^(x - m) / sum e^(x - m) is the same for every m, and overflows for none.
Numbers softmax_of(const Numbers& x) {
  Numbers p(x.size());
  for (size_t r = 0; r < rows; ++r) {
    const auto row = x.begin() + static_cast<ptrdiff_t>(r * classes);
    const double m = *std::max_element(row, row + classes);
    double total = 0;
    for (size_t i = r * classes; i < (r + 1) * classes; ++i) total += p[i] = std::exp(x[i] - m);
    for (size_t i = r * classes; i < (r + 1) * classes; ++i) p[i] /= total;
  }
  return p;
}

// The mean over rows of -ln p[label].
double loss_of(const Numbers& x) {
  const Numbers p = softmax_of(x);
  double loss = 0;
  for (size_t r = 0; r < rows; ++r) loss -= std::log(p[r * classes + static_cast<size_t>(labels[r])]) / rows;
  return loss;
}

double difference_quotient(Numbers x, size_t i, double h) {
  const double at = x[i];
  x[i] = at + h;
  const double above = loss_of(x);
  x[i] = at - h;
  return (above - loss_of(x)) / (2 * h);
}

int claims_wrong = 0;

void claim(bool holds, const char* what) {
  fmt::print("{} {}\n", holds ? "ok   " : "WRONG", what);
  claims_wrong += holds ? 0 : 1;
}

}  // namespace

int main() {
  const Numbers x{2, 1, -1, 0.5, -0.5, 1.5}, p = softmax_of(x);
  const Tensor logits = Tensor::from(x, {rows, classes}, DType::f64).set_requires_grad();
  Tape tape;
  const Tensor loss = cross_entropy(tape, logits, on(Device::cpu, Rows(labels)));
  tape.backward(loss);
  const Numbers by_tape = logits.grad().to_vector();
  fmt::print("loss {:.5f}\n\nrow  class  logit       p    by hand    by tape  by differences\n", loss.item());
  double hand_error = 0, chain_error = 0, quotient_error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t r = i / classes, label = r * classes + static_cast<size_t>(labels[r]);
    const double by_hand = (p[i] - (i == label ? 1.0 : 0.0)) / rows, quotient = difference_quotient(x, i, 1e-5);
    fmt::print("{:3}  {:3}{}  {:6.2f}  {:.4f}  {:9.5f}  {:9.5f}  {:9.5f}\n", r, i % classes, i == label ? " *" : "  ",
               x[i], p[i], by_hand, by_tape[i], quotient);
    // The same in two steps: dp, 0 but for the label, then the softmax's dx = p (dp - sum(p dp)).
    const double dp_label = -1 / (rows * p[label]), mean = p[label] * dp_label;
    chain_error += std::abs(p[i] * ((i == label ? dp_label : 0) - mean) - by_hand);
    hand_error += std::abs(by_tape[i] - by_hand);
    quotient_error += std::abs(quotient - by_hand);
  }
  fmt::print("\nerror of the difference quotient at the first logit\n");
  for (const double h : {1e-1, 1e-2, 1e-3})
    fmt::print("h = {:5}  {:.0e}\n", h, std::abs(difference_quotient(x, 0, h) - by_tape[0]));
  double too_small = 0;
  for (size_t i = 0; i < x.size(); ++i) too_small += std::abs(difference_quotient(x, i, 1e-13) - by_tape[i]);
  claim(too_small > 1e-6, "h = 1e-13 is far worse again: two numbers that hardly differ are subtracted\n");
  claim(hand_error < 1e-12, "(p - [label]) / rows and the tape's gradient differ by less than 1e-12");
  claim(chain_error < 1e-12, "-ln p and softmax, one after the other, give the same");
  claim(quotient_error < 1e-9, "so do differences, to 1e-9");
  const auto f = [](Tape& t, std::span<const Tensor> in) {
    return cross_entropy(t, in[0], on(Device::cpu, Rows(labels)));
  };
  claim(check_gradients(f, {logits}).passes(1e-10), "so does the engine's own check with four points, to 1e-10");
  return claims_wrong;
}
