// Lesson 1: a chain of functions of one number, and its gradient by hand.
//
// Read beside it: engine/formulas.h, where each function's derivative stands next to its value. README.md leads
// through.
#include <fmt/format.h>

#include <cmath>

#include "engine/formulas.h"
#include "engine/ops.h"

using namespace crisp;

namespace {

// A neuron, its squared error, and a penalty on its weight: loss = (sigmoid(w x + b) - t)^2 + c w^2.
constexpr double x = 1.5, t = 1, c = 0.1;  // given
constexpr double w = -0.4, b = 0.1;        // to be learned

double loss_of(double weight, double bias) {
  const double y = 1 / (1 + std::exp(-(weight * x + bias)));
  return (y - t) * (y - t) + c * weight * weight;
}

struct Partials {
  double dw, db;
};

// Forward, keeping every step; then backward from the loss, one line for each line of the forward pass.
Partials by_hand() {
  const double z = w * x + b;
  const double y = 1 / (1 + std::exp(-z));
  const double e = y - t;
  const double loss = e * e + c * w * w;

  const double dloss = 1;                        // the derivative of the loss with respect to itself
  const double de = dloss * 2 * e;               // loss = e^2 + ..
  const double dy = de;                          // e = y - t
  const double dz = dy * y * (1 - y);            // y = sigmoid(z)
  const double db = dz;                          // z = .. + b
  const double dw = dz * x + dloss * 2 * c * w;  // w is used twice: z = w x + .. and loss = .. + c w^2

  fmt::print("forward, downwards                   backward, upwards\n");
  fmt::print("z = w x + b          = {:7.4f}       dz = dy y (1 - y) = {:7.4f}\n", z, dz);
  fmt::print("y = sigmoid(z)       = {:7.4f}       dy = de           = {:7.4f}\n", y, dy);
  fmt::print("e = y - t            = {:7.4f}       de = dloss 2 e    = {:7.4f}\n", e, de);
  fmt::print("loss = e^2 + c w^2   = {:7.4f}       dloss             = {:7.4f}\n\n", loss, dloss);
  return {dw, db};
}

// The same written with operations: the tape remembers them and runs their derivatives backwards.
Partials by_tape() {
  const auto number = [](double value) { return Tensor::scalar(value, DType::f64); };
  const Tensor weight = number(w).set_requires_grad(), bias = number(b).set_requires_grad();
  Tape tape;
  const Tensor y = sigmoid(tape, add(tape, mul(tape, weight, number(x)), bias));
  const Tensor e = sub(tape, y, number(t));
  tape.backward(add(tape, mul(tape, e, e), scale(tape, mul(tape, weight, weight), c)));
  return {weight.grad().item(), bias.grad().item()};
}

// The same from the definition of a derivative, on both sides of the point: it knows nothing of the chain rule.
Partials by_differences() {
  constexpr double h = 1e-5;
  return {(loss_of(w + h, b) - loss_of(w - h, b)) / (2 * h), (loss_of(w, b + h) - loss_of(w, b - h)) / (2 * h)};
}

double distance(const Partials& p, const Partials& q) { return std::hypot(p.dw - q.dw, p.db - q.db); }

int claims_wrong = 0;

void claim(bool holds, const char* what) {
  fmt::print("{} {}\n", holds ? "ok   " : "WRONG", what);
  claims_wrong += holds ? 0 : 1;
}

}  // namespace

int main() {
  const Partials hand = by_hand(), tape = by_tape(), differences = by_differences();
  fmt::print("gradient      by hand   by tape   by differences\n");
  fmt::print("dloss/dw     {:8.5f}  {:8.5f}  {:8.5f}\n", hand.dw, tape.dw, differences.dw);
  fmt::print("dloss/db     {:8.5f}  {:8.5f}  {:8.5f}\n\n", hand.db, tape.db, differences.db);

  claim(distance(hand, tape) < 1e-12, "by hand and by tape differ by less than 1e-12");
  claim(distance(hand, differences) < 1e-9, "by hand and by differences differ by less than 1e-9");
  const double y = 1 / (1 + std::exp(-(w * x + b)));
  const double slope = formulas::Sigmoid<double, formulas::StandardMath>::derivative(y);
  claim(std::abs(slope - y * (1 - y)) < 1e-15, "the engine's formula for sigmoid' is y (1 - y)");
  const double rate = 0.5;
  claim(loss_of(w - rate * hand.dw, b - rate * hand.db) < loss_of(w, b), "a step against the gradient lowers the loss");
  return claims_wrong;
}
