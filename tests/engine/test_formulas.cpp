// engine/formulas.h by itself: values against the textbook, derivatives against central differences, in f64 with the
// standard library's functions. No kernel and no tape has a part in it.
#include "engine/formulas.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "tests/support/catch.h"

using namespace crisp;
using namespace crisp::formulas;

namespace {

using M = StandardMath;
using Row = std::vector<double>;

const double infinity = std::numeric_limits<double>::infinity(), not_a_number = std::nan("");
const Row a_row{0.3, -1.2, 2.1, 0.9, -0.4}, dy{0.7, -0.2, 1.1, -1.5, 0.4};

double difference(const std::function<double(double)>& f, double x) {
  const double h = 1e-5;
  return (f(x + h) - f(x - h)) / (2 * h);
}

void check_near(double actual, double expected, double tolerance) {
  INFO(actual << " instead of " << expected);
  CHECK(std::abs(actual - expected) <= tolerance * std::max(1.0, std::abs(expected)));
}

// dx of the loss sum(dy y(x)), element by element.
void check_gradient(const std::function<Row(const Row&)>& y, const Row& x, const Row& dx) {
  for (size_t i = 0; i < x.size(); ++i) {
    const auto loss = [&](double at) {
      Row moved = x;
      moved[i] = at;
      const Row out = y(moved);
      return std::inner_product(out.begin(), out.end(), dy.begin(), 0.0);
    };
    INFO("element " << i);
    check_near(dx[i], difference(loss, x[i]), 1e-8);
  }
}

template <class F>
Row map(const Row& x, F f) {
  Row y;
  for (const double v : x) y.push_back(f(v));
  return y;
}
double sum(const Row& x) { return std::accumulate(x.begin(), x.end(), 0.0); }
double largest(const Row& x) { return *std::max_element(x.begin(), x.end()); }

Row exponentials(const Row& x) {
  return map(x, [m = largest(x)](double v) { return Softmax<double, M>::exponential(v, m); });
}
Row softmax(const Row& x) {
  const Row e = exponentials(x);
  return map(e, [s = sum(e)](double v) { return Softmax<double, M>::value(v, 1 / s); });
}

// Sparsemax or 1.5-entmax, the threshold by halving.
template <class Formula>
Row sparse(Row x) {
  for (double& v : x) v *= Formula::score_factor;
  const auto weights = [&x](double t) {
    return map(x, [t](double v) { return Formula::weight(std::max(v - t, 0.0)); });
  };
  double low = largest(x) - 1, high = largest(x);
  for (int step = 0; step < 100; ++step) {
    const double middle = (low + high) / 2;
    (sum(weights(middle)) > 1 ? low : high) = middle;
  }
  return weights(low);
}

template <class Formula>
Row sparse_gradient(const Row& y) {
  const Row s = map(y, [](double v) { return v > 0 ? Formula::sensitivity(v) : 0; });
  const double mean = std::inner_product(s.begin(), s.end(), dy.begin(), 0.0) / sum(s);
  Row dx;
  for (size_t i = 0; i < y.size(); ++i) dx.push_back(normaliser_gradient(s[i], dy[i], mean));
  return dx;
}

}  // namespace

TEST_CASE("the derivative of every function of one number is its slope") {
  const Row anywhere{-3.1, -1.5, -0.2, 0.1, 0.8, 2.4}, positive{0.2, 0.4, 1, 3, 20};
  for (const UnaryOp op : {UnaryOp::exp, UnaryOp::log, UnaryOp::sqrt, UnaryOp::tanh, UnaryOp::sigmoid, UnaryOp::relu,
                           UnaryOp::erf, UnaryOp::gelu}) {
    INFO("function " << static_cast<int>(op));
    bool called = false;
    with_formula<double, M>(op, [&](auto f) {
      called = true;
      for (const double x : op == UnaryOp::log || op == UnaryOp::sqrt ? positive : anywhere) {
        INFO("at " << x);
        check_near(f.derivative(f.in_output ? f.value(x) : x), difference([&](double v) { return f.value(v); }, x),
                   1e-8);
      }
    });
    CHECK(called);
  }
}

TEST_CASE("the values of the functions of one number") {
  const std::vector<std::pair<UnaryOp, double>> at_a_half{
      {UnaryOp::exp, 1.6487212707001282},      {UnaryOp::log, -0.69314718055994529},
      {UnaryOp::sqrt, 0.70710678118654757},    {UnaryOp::tanh, 0.46211715726000973},
      {UnaryOp::sigmoid, 0.62245933120185459}, {UnaryOp::relu, 0.5},
      {UnaryOp::erf, 0.52049987781304652},     {UnaryOp::gelu, 0.34573123063700656}};
  for (const auto& [op, expected] : at_a_half)
    with_formula<double, M>(op, [wanted = expected](auto f) { check_near(f.value(0.5), wanted, 1e-15); });

  using ReluD = Relu<double, M>;
  CHECK(ReluD::value(-1) == 0);
  CHECK(ReluD::derivative(0) == 0);
  CHECK(std::isnan(ReluD::value(not_a_number)));
}

TEST_CASE("the gradients of the functions of two numbers are their slopes") {
  const auto value = [](BinaryOp op, double a, double b) {
    double y = 0;
    with_formula<double>(op, [&](auto f) { y = f.value(a, b); });
    return y;
  };
  CHECK(value(BinaryOp::add, 1.5, -4) == -2.5);
  CHECK(value(BinaryOp::sub, 1.5, -4) == 5.5);
  CHECK(value(BinaryOp::mul, 1.5, -4) == -6);
  CHECK(value(BinaryOp::div, 1.5, -4) == -0.375);
  for (const BinaryOp op : {BinaryOp::add, BinaryOp::sub, BinaryOp::mul, BinaryOp::div}) {
    INFO("function " << static_cast<int>(op));
    for (const auto& [a, b] : {std::pair(0.3, 1.7), std::pair(-2.5, 0.6), std::pair(1.1, -3.0)}) {
      with_formula<double>(op, [&, x = a, y = b](auto f) {
        const double g = 0.7;
        check_near(f.da(g, x, y), g * difference([&](double v) { return f.value(v, y); }, x), 1e-8);
        check_near(f.db(g, x, y), g * difference([&](double v) { return f.value(x, v); }, y), 1e-8);
      });
    }
  }
}

TEST_CASE("softmax, its logarithm and cross-entropy") {
  const Row y = softmax(a_row);
  check_near(sum(y), 1, 1e-15);
  check_near(std::log(y[0] / y[1]), a_row[0] - a_row[1], 1e-14);
  Row dx;
  const double dot = std::inner_product(y.begin(), y.end(), dy.begin(), 0.0);
  for (size_t i = 0; i < y.size(); ++i) dx.push_back(normaliser_gradient(y[i], dy[i], dot));
  check_gradient(softmax, a_row, dx);

  const auto log_softmax = [](const Row& x) {
    return map(x, [m = largest(x), s = std::log(sum(exponentials(x)))](double v) {
      return LogSoftmax<double, M>::value(v, m, s);
    });
  };
  const Row l = log_softmax(a_row);
  dx.clear();
  for (size_t i = 0; i < l.size(); ++i) {
    check_near(l[i], std::log(y[i]), 1e-14);
    dx.push_back(LogSoftmax<double, M>::gradient(l[i], dy[i], sum(dy)));
  }
  check_gradient(log_softmax, a_row, dx);

  const size_t label = 3;
  const auto loss = [](const Row& x) {
    return CrossEntropy<double, M>::loss(x[label], largest(x), sum(exponentials(x)));
  };
  check_near(loss(a_row), -std::log(y[label]), 1e-14);
  dx.clear();
  for (size_t i = 0; i < y.size(); ++i) dx.push_back(CrossEntropy<double, M>::gradient(y[i], i == label, dy[0]));
  check_gradient([&](const Row& x) { return Row{loss(x), 0, 0, 0, 0}; }, a_row, dx);
}

TEST_CASE("sparsemax and 1.5-entmax") {
  using Sparse = Sparsemax<double, M>;
  using Entmax = Entmax15<double, M>;
  const Row hard = sparse<Sparse>(a_row), soft = sparse<Entmax>(a_row);
  for (const Row& y : {hard, soft}) {
    check_near(sum(y), 1, 1e-12);
    CHECK(y[1] == 0);  // far from the largest
    CHECK(y[2] == largest(y));
  }
  // Between two weights above 0: sparsemax keeps the difference of the scores, entmax that of the roots, halved.
  const Row close = sparse<Sparse>({0.3, -1.2, 0.6, 0.9, -0.4});
  check_near(close[3] - close[2], 0.3, 1e-12);
  check_near(std::sqrt(soft[2]) - std::sqrt(soft[3]), 0.6, 1e-12);
  check_gradient(sparse<Sparse>, {0.3, -1.2, 0.6, 0.9, -0.4}, sparse_gradient<Sparse>(close));
  check_gradient(sparse<Entmax>, a_row, sparse_gradient<Entmax>(soft));
  CHECK(std::isnan(Sparse::sensitivity(not_a_number)));

  // Newton's step is the sum's distance from 1 over its slope.
  const auto check_step = [](auto f) {
    const auto total = [&](double t) {
      return sum(map(a_row, [&](double v) { return f.weight(std::max(v - t, 0.0)); }));
    };
    const double t = 0.5, slopes = sum(map(a_row, [&](double v) { return f.slope(std::max(v - t, 0.0)); }));
    const double expected = t - (total(t) - 1) / difference(total, t);
    check_near(next_threshold<decltype(f)>(t, total(t), slopes), expected, 1e-8);
  };
  check_step(Sparse{});
  check_step(Entmax{});
}

TEST_CASE("the gate of a span") {
  CHECK(SpanGate::value(4, 2, 1) == 1);
  CHECK(SpanGate::value(4, 2, 3) == 0.75);
  CHECK(SpanGate::value(4, 2, 6) == 0);
  CHECK(std::isnan(SpanGate::value(4, not_a_number, 3)));
  // Each key at its own distance; one is inside the whole span, one beyond it.
  const double ramp = 4, z = 1.5;
  const Row distances{0, 2, 3, 4, 9};
  const auto weights = [&](double span) {
    Row e = exponentials(a_row);
    for (size_t i = 0; i < e.size(); ++i) e[i] *= SpanGate::value(ramp, span, distances[i]);
    return map(e, [s = sum(e)](double v) { return v / s; });
  };
  const Row y = weights(z);
  const double dot = std::inner_product(y.begin(), y.end(), dy.begin(), 0.0);
  double dz = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const double gate = SpanGate::value(ramp, z, distances[i]);
    if (gate > 0 && gate < 1) dz += SpanGate::gradient(gate, ramp, normaliser_gradient(y[i], dy[i], dot));
  }
  const auto loss = [&](double span) {
    const Row out = weights(span);
    return std::inner_product(out.begin(), out.end(), dy.begin(), 0.0);
  };
  check_near(dz, difference(loss, z), 1e-8);
}

TEST_CASE("LayerNorm") {
  using L = LayerNorm<double, M>;
  const Row weight{1.1, 0.4, -0.7, 1.3, 0.9}, bias{0.1, 0, -0.3, 0.2, 0.5};
  const double n = 5, epsilon = 1e-3;
  struct Stats {
    double mean, inverse;
  };
  const auto stats = [&](const Row& x) {
    const double mean = sum(x) / n;
    const double variance = sum(map(x, [&](double v) { return (v - mean) * (v - mean); })) / n;
    return Stats{mean, L::inverse(variance, epsilon)};
  };
  const auto normalised = [&](const Row& x) {
    return map(x, [s = stats(x)](double v) { return L::normalised(v, s.mean, s.inverse); });
  };
  const auto value = [&](const Row& x, const Row& w, const Row& b) {
    Row y = normalised(x);
    for (size_t i = 0; i < y.size(); ++i) y[i] = L::value(y[i], w[i], b[i]);
    return y;
  };
  const Row by_hand = value({1, 2, 3, 4, 5}, {2, 2, 2, 2, 2}, {1, 1, 1, 1, 1});
  check_near(by_hand[4], 1 + 2 * 2 / std::sqrt(2 + epsilon), 1e-14);

  const Row at = normalised(a_row);
  double mean_h = 0, mean_hn = 0;
  for (size_t i = 0; i < at.size(); ++i) {
    mean_h += dy[i] * weight[i] / n;
    mean_hn += dy[i] * weight[i] * at[i] / n;
  }
  Row dx, dw;
  for (size_t i = 0; i < at.size(); ++i) {
    dx.push_back(L::dx(dy[i] * weight[i], at[i], stats(a_row).inverse, mean_h, mean_hn));
    dw.push_back(L::dweight(dy[i], at[i]));
  }
  check_gradient([&](const Row& x) { return value(x, weight, bias); }, a_row, dx);
  check_gradient([&](const Row& w) { return value(a_row, w, bias); }, weight, dw);
  check_gradient([&](const Row& b) { return value(a_row, weight, b); }, bias, dy);
}

TEST_CASE("dropout keeps the mean, and nothing of what it drops") {
  const double p = 0.2, f = dropout_factor<double>(p);
  CHECK((1 - p) * dropout(3.0, f) + p * dropout(3.0, 0.0) == Approx(3));
  CHECK(dropout(infinity, 0.0) == 0);
  CHECK(dropout(not_a_number, 0.0) == 0);
  CHECK(std::isnan(dropout(not_a_number, f)));
}

TEST_CASE("AdamW's step of one element") {
  const double rate = 1e-2, decay = 0.1, beta1 = 0.9, beta2 = 0.99, epsilon = 1e-6;
  AdamWStep step{.learning_rate = rate,
                 .beta1 = beta1,
                 .beta2 = beta2,
                 .epsilon = epsilon,
                 .weight_decay = decay,
                 .gradient_scale = 1,
                 .step = 1};
  const AdamW<double, M> rule(step);
  double p = 0.8, m = 0, v = 0, p1 = p, m1 = 0, v1 = 0;
  for (int t = 1; t <= 5; ++t) {
    step.step = t;
    const double g = 0.3 * t - 0.7;
    rule.advance(AdamW<double, M>::Rates(adamw_rates(step)), g, p, m, v);
    // The paper's algorithm, line by line.
    m1 = beta1 * m1 + (1 - beta1) * g;
    v1 = beta2 * v1 + (1 - beta2) * g * g;
    const double m_hat = m1 / (1 - std::pow(beta1, t)), v_hat = v1 / (1 - std::pow(beta2, t));
    p1 = p1 - rate * decay * p1 - rate * m_hat / (std::sqrt(v_hat) + epsilon);
    check_near(p, p1, 1e-14);
    check_near(m, m1, 1e-14);
    check_near(v, v1, 1e-14);
  }
}

TEST_CASE("AdamW lets a negligible first moment end, and the second with it, never alone") {
  const AdamW<float, M> rule(AdamWStep{.learning_rate = 1e-2,
                                       .beta1 = 0.9,
                                       .beta2 = 0.99,
                                       .epsilon = 1e-6,
                                       .weight_decay = 0.1,
                                       .gradient_scale = 1,
                                       .step = 1});
  const AdamW<float, M>::Rates rates({.decay = 1e-3, .size = 1e-2, .root = 1});
  const float tiny = negligible<float> / 2;
  float p = 1, m = tiny, v = tiny;
  rule.advance(rates, 0, p, m, v);
  CHECK(m == 0);
  CHECK(v == 0);
  m = tiny, v = 1;
  rule.advance(rates, 0, p, m, v);
  CHECK(m == 0);
  CHECK(v == 0.99f);
  m = 1, v = tiny;
  rule.advance(rates, 0, p, m, v);
  CHECK(m > 0);
  CHECK(v > 0);

  // What is left of a step where m and the gradient are 0 has the same bits.
  float q = 0.7f, zero = 0, w = 0.3f;
  const float moved = rule.moved(rates, q, 0), second = rule.flushed(rule.faded(w), true);
  rule.advance(rates, 0, q, zero, w);
  CHECK(q == moved);
  CHECK(w == second);
}
