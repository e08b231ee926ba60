#include <cmath>
#include <numbers>

#include "engine/ops.h"
#include "tools/lessons/grader/course.h"

namespace crisp::lessons {
namespace {

Case make_case(uint32_t number, int64_t n, double spread) {
  CaseMaker make(100 + number, {{"n", static_cast<double>(n)}});
  const Tensor x = make.input("x", {n}, spread);
  const Tensor dy = make.input("dy", {n}, 2);
  const auto forward = [&](Tape& tape) { return gelu(tape, x); };
  Tape tape(make.context());
  make.output("y", forward(tape));
  make.gradients({"x"}, "y", dy.to_vector(), forward);
  return make.finish();
}

double distribution(double x) { return 0.5 * (1 + std::erf(x / std::numbers::sqrt2)); }
double density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi); }

// The approximation 0.5 x (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3), and its derivative.
double tanh_gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}
double tanh_gelu_slope(double x) {
  const double a = std::sqrt(2 / std::numbers::pi);
  const double t = std::tanh(a * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * a * (1 + 3 * 0.044715 * x * x);
}

// Of each element, from x and dy.
template <class F>
std::function<Values(const Case&)> each(F f) {
  return [f](const Case& c) {
    Values values(c["x"].size());
    for (size_t i = 0; i < values.size(); ++i) values[i] = f(c["x"][i], c["dy"][i]);
    return values;
  };
}

}  // namespace

Exercise gelu_exercise() {
  Exercise e;
  e.name = "gelu";
  e.title = "GELU, element by element";
  e.tensors = {"y", "dx"};
  e.given = {"y"};
  e.read = {"tools/lessons/README.md, lessons 1 and 2: the chain rule, and why gradients are added up",
            "arXiv 1606.08415, section 2: the function"};
  e.compare = {"engine/formulas.h, struct Gelu: value and derivative side by side",
               "engine/ops/unary.cpp: what is saved for the backward pass"};
  e.hints = {
      "y is a product of two factors that both depend on x. So its derivative has two terms.",
      "The derivative of Phi is phi, the density that the file's first lines give; the inner factor 1/sqrt(2) is in it "
      "already.",
      "dx[i] gets dy[i] times d(y)/d(x), added to what is there: dx[i] += dy[i] * (Phi(x) + ...).",
  };
  e.cases = {make_case(1, 7, 3), make_case(2, 1, 1), make_case(3, 40, 6)};
  e.mistakes = {
      {"tanh-form", "y", "this is the tanh approximation of GELU; here, as in BERT, it is the form with erf",
       each([](double x, double) { return tanh_gelu(x); })},
      {"tanh-form", "dx",
       "this is the derivative of the tanh approximation; the forward function computes the form with erf",
       each([](double x, double dy) { return dy * tanh_gelu_slope(x); })},
      {"missing-term", "dx", "one term of the product rule is missing: the one in which Phi itself changes with x",
       each([](double x, double dy) { return dy * distribution(x); })},
      {"missing-term", "dx", "one term of the product rule is missing: the one in which the factor x changes",
       each([](double x, double dy) { return dy * x * density(x); })},
      {"missing-upstream", "dx", "this is the derivative alone: the gradient that arrives, dy, is not in it",
       each([](double x, double) { return distribution(x) + x * density(x); })},
      {"missing-constant", "dx", "the density lacks its constant: the integral of phi over all x must be 1",
       each([](double x, double dy) { return dy * (distribution(x) + x * std::exp(-x * x / 2)); })},
      {"wrong-inner", "dx",
       "the derivative of erf(u) is 2/sqrt(pi) e^(-u^2), and with u = x/sqrt(2) the chain rule brings a factor more; "
       "phi has it already",
       each([](double x, double dy) { return dy * (distribution(x) + x * density(x) * std::numbers::sqrt2); })},
      {"value-for-derivative", "dx", "this multiplies dy by the function's value instead of by its derivative",
       each([](double x, double dy) { return dy * x * distribution(x); })},
  };
  return e;
}

}  // namespace crisp::lessons
