// Lesson 7: attention that keeps the largest scores alone, and what happens to the gradient of what was dropped.
//
// Read beside it: engine/attention_rule.h. README.md leads through.
#include <fmt/format.h>

#include <cmath>
#include <string>
#include <vector>

#include "engine/gradcheck.h"
#include "engine/ops.h"

using namespace crisp;

namespace {
using Numbers = std::vector<double>;

Tensor column(const Numbers& x) { return Tensor::from(x, {static_cast<int64_t>(x.size()), 1}, DType::f64); }

// One query, which is the number 1, and five keys, which are numbers, too: the score of a key is the key itself.
Tensor query() { return column({1}); }
Segments sequence() { return on(Device::cpu, Segments(std::vector<int32_t>{0, 1}, std::vector<int32_t>{0, 5})); }

AttentionRule two_of_five() { return {.selection = Selection::top_k_row, .sparsity = 0.6}; }

struct Result {
  double y;
  Numbers weights, dk, dv;  // gradients of 2 y
};

Result attend(const Numbers& keys, const Numbers& values, const AttentionRule& rule) {
  const Tensor k = column(keys).set_requires_grad(), v = column(values).set_requires_grad();
  Tape tape;
  const Tensor y = attention(tape, query(), k, v, sequence(), rule);
  tape.backward(scale(tape, y, 2));
  const Numbers weights = attention_weights(tape.context(), query(), k, sequence(), rule).to_vector();
  return {y.item(), weights, k.grad().to_vector(), v.grad().to_vector()};
}

double output(const Numbers& keys, const Numbers& values) { return attend(keys, values, two_of_five()).y; }

bool proven(const Numbers& keys, const Numbers& values) {
  const auto f = [](Tape& t, std::span<const Tensor> kv) {
    return attention(t, query(), kv[0], kv[1], sequence(), two_of_five());
  };
  return check_gradients(f, {column(keys).set_requires_grad(), column(values).set_requires_grad()}).passes(1e-9);
}

// An exact 0 is shown as "0".
std::string text(double x) { return x == 0 ? "0" : fmt::format("{:.4f}", x); }

int claims_wrong = 0;

void claim(bool holds, const char* what) {
  fmt::print("{} {}\n", holds ? "ok   " : "WRONG", what);
  claims_wrong += holds ? 0 : 1;
}

}  // namespace

int main() {
  const Numbers keys{1.2, 0.3, 1.0, -0.4, 0.6}, values{1, -2, 0.5, 3, -1};
  const Result dense = attend(keys, values, {}), top = attend(keys, values, two_of_five());
  fmt::print("               dense: y = {:7.4f}            top 2 of 5: y = {:7.4f}\n", dense.y, top.y);
  fmt::print("score value    weight       dk       dv     weight       dk       dv\n");
  const double kept = dense.weights[0] + dense.weights[2];
  double weight_error = 0, gradient_error = 0, of_dropped = 0;
  for (size_t j = 0; j < keys.size(); ++j) {
    fmt::print("{:5.1f} {:5.1f}  {:>8} {:>8} {:>8}   {:>8} {:>8} {:>8}\n", keys[j], values[j], text(dense.weights[j]),
               text(dense.dk[j]), text(dense.dv[j]), text(top.weights[j]), text(top.dk[j]), text(top.dv[j]));
    const bool is_kept = j == 0 || j == 2;
    weight_error += std::abs(top.weights[j] - (is_kept ? dense.weights[j] / kept : 0));
    gradient_error += std::abs(top.dk[j] - 2 * top.weights[j] * (values[j] - top.y));
    if (!is_kept) of_dropped += std::abs(top.dk[j]) + std::abs(top.dv[j]);
  }
  claim(weight_error < 1e-12, "the kept weights are the dense ones, divided by their sum");
  claim(of_dropped == 0, "what was dropped gets a gradient of exactly 0, key and value");
  claim(gradient_error < 1e-12, "what was kept gets the softmax's, dk = dy weight (value - y)");
  claim(proven(keys, values), "differences agree to 1e-9: near this point the same keys are kept\n");

  // The last key's score passes that of the key with 1.0. Either that key has the same value, or another.
  fmt::print("score of the last key   y, if its value is 0.5   y, if it is -1\n");
  const Numbers same{1, -2, 0.5, 3, 0.5};
  Numbers moved = keys;
  for (const double score : {0.8, 0.9, 1.0, 1.05, 1.1}) {
    moved[4] = score;
    fmt::print("{:21.2f}   {:22.4f}   {:14.4f}\n", score, output(moved, same), output(moved, values));
  }
  const auto at = [&](double score) { return output({1.2, 0.3, 1.0, -0.4, score}, same); };
  constexpr double h = 1e-6;
  const double left = (at(1) - at(1 - h)) / h, right = (at(1 + h) - at(1)) / h;
  const Result tie = attend({1.2, 0.3, 1.0, -0.4, 1.0}, same, two_of_five());
  fmt::print("its derivative at 1.00: from the left {}, from the right {}, by tape {}\n", text(left), text(right),
             text(tie.dk[4] / 2));
  claim(left == 0 && right < -0.01 && tie.dk[4] == 0, "at a tie they differ; the tape's is that of the branch taken");
  claim(!proven({1.2, 0.3, 1.0, -0.4, 1.0}, same), "there, differences disagree with it");
  return claims_wrong;
}
