// The mathematics of the operations: what each computes and, beside it, its derivative. The kernels of every backend
// compile these very lines; what they add is loops, sums along rows, and memory. Which values an operation saves and
// how its gradient flows stands in its file in engine/ops/. (Sums, means, maxima and matrix products are loops and no
// more: see there.) A leaf header.
//
// In all of it y is made of x, dy is the derivative of the loss with respect to y, and dx that with respect to x: dx is
// the vector-Jacobian product that engine/tape.h explains.
// `T` is a type of numbers; where a formula has no literal it may be a vector of them, which has the same operators.
// `Math` has the elementary functions, whose accuracy and speed are the backend's choice: see StandardMath.
#pragma once

#include <cmath>
#include <cstdint>

#include "engine/inline.h"

namespace crisp {

enum class UnaryOp : uint8_t { exp, log, sqrt, tanh, sigmoid, relu, erf, gelu };
enum class BinaryOp : uint8_t { add, sub, mul, div };

/// One step of AdamW (formulas::AdamW).
struct AdamWStep {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  double gradient_scale;  // what the gradient is multiplied with
  int64_t step;           // 1 for the first update; bias correction uses it
};

/// What one step multiplies with, whatever the element: all that rows which catch up later need to know of it.
struct AdamWRates {
  double decay;  // learning rate * weight decay
  double size;   // learning rate / (1 - beta1^step)
  double root;   // 1 / sqrt(1 - beta2^step)
};

CRISP_INLINE AdamWRates adamw_rates(const AdamWStep& s) {
  const auto step = static_cast<double>(s.step);
  return {s.learning_rate * s.weight_decay, s.learning_rate / (1 - std::pow(s.beta1, step)),
          1 / std::sqrt(1 - std::pow(s.beta2, step))};
}

namespace formulas {

/// The standard normal distribution: Phi(x), the probability of a number below x, and its derivative phi(x).
template <class T>
struct Normal {
  T cdf, density;
};

/// The elementary functions by the standard library; those of f64 alone where a backend has an f32 version of its own.
struct StandardMath {
  CRISP_INLINE static double exp(double x) { return std::exp(x); }
  CRISP_INLINE static double erf(double x) { return std::erf(x); }
  /// Phi(x) = erfc(-x / sqrt 2) / 2 and phi(x) = exp(-x^2 / 2) / sqrt(2 pi): together, because GELU's derivative needs
  /// both.
  CRISP_INLINE static Normal<double> normal(double x) {
    return {0.5 * std::erfc(x * -0.70710678118654752440), 0.39894228040143267794 * std::exp(-0.5 * x * x)};
  }
  template <class T>
  CRISP_INLINE static T log(T x) {
    return std::log(x);
  }
  template <class T>
  CRISP_INLINE static T sqrt(T x) {
    return std::sqrt(x);
  }
  template <class T>
  CRISP_INLINE static T tanh(T x) {
    return std::tanh(x);
  }
};

// --- functions of one number: y = value(x), dx = dy * derivative(..) -------------------------------------------------
// The derivative is written in y where that is simpler (in_output), else in x; the operation saves the one or the
// other.

/// y = e^x:  y' = y.
template <class T, class Math>
struct Exp {
  static constexpr bool in_output = true;
  CRISP_INLINE static T value(T x) { return Math::exp(x); }
  CRISP_INLINE static T derivative(T y) { return y; }
};

/// y = ln x:  y' = 1 / x.
template <class T, class Math>
struct Log {
  static constexpr bool in_output = false;
  CRISP_INLINE static T value(T x) { return Math::log(x); }
  CRISP_INLINE static T derivative(T x) { return T(1) / x; }
};

/// y = x^(1/2):  y' = 1 / (2 y).
template <class T, class Math>
struct Sqrt {
  static constexpr bool in_output = true;
  CRISP_INLINE static T value(T x) { return Math::sqrt(x); }
  CRISP_INLINE static T derivative(T y) { return T(0.5) / y; }
};

/// y = tanh x:  y' = 1 - y^2.
template <class T, class Math>
struct Tanh {
  static constexpr bool in_output = true;
  CRISP_INLINE static T value(T x) { return Math::tanh(x); }
  CRISP_INLINE static T derivative(T y) { return T(1) - y * y; }
};

/// y = 1 / (1 + e^-x):  y' = y (1 - y).
template <class T, class Math>
struct Sigmoid {
  static constexpr bool in_output = true;
  CRISP_INLINE static T value(T x) { return T(1) / (T(1) + Math::exp(-x)); }
  CRISP_INLINE static T derivative(T y) { return y * (T(1) - y); }
};

/// y = max(x, 0):  y' = 1 for x > 0, 0 below and, by convention, at 0. A NaN stays.
template <class T, class Math>
struct Relu {
  static constexpr bool in_output = false;
  CRISP_INLINE static T value(T x) { return x <= T(0) ? T(0) : x; }
  CRISP_INLINE static T derivative(T x) { return x <= T(0) ? T(0) : T(1); }
};

/// y = erf x:  y' = 2 / sqrt(pi) e^(-x^2).
template <class T, class Math>
struct Erf {
  static constexpr bool in_output = false;
  CRISP_INLINE static T value(T x) { return Math::erf(x); }
  CRISP_INLINE static T derivative(T x) { return T(1.12837916709551257390) * Math::exp(-x * x); }
};

/// y = x Phi(x):  y' = Phi(x) + x phi(x). (Hendrycks & Gimpel, arXiv 1606.08415; not the approximation by tanh.)
template <class T, class Math>
struct Gelu {
  static constexpr bool in_output = false;
  CRISP_INLINE static T value(T x) { return x * Math::normal(x).cdf; }
  CRISP_INLINE static T derivative(T x) { return both(x).derivative; }
  struct Both {
    T value, derivative;
  };
  CRISP_INLINE static Both both(T x) {
    const auto n = Math::normal(x);
    return {x * n.cdf, n.cdf + x * n.density};
  }
};

/// f(formula), for the formula of `op`.
template <class T, class Math, class F>
void with_formula(UnaryOp op, F f) {
  switch (op) {
    case UnaryOp::exp:
      return f(Exp<T, Math>{});
    case UnaryOp::log:
      return f(Log<T, Math>{});
    case UnaryOp::sqrt:
      return f(Sqrt<T, Math>{});
    case UnaryOp::tanh:
      return f(Tanh<T, Math>{});
    case UnaryOp::sigmoid:
      return f(Sigmoid<T, Math>{});
    case UnaryOp::relu:
      return f(Relu<T, Math>{});
    case UnaryOp::erf:
      return f(Erf<T, Math>{});
    case UnaryOp::gelu:
      return f(Gelu<T, Math>{});
  }
}

// --- functions of two numbers: y = value(a, b) and both gradients, from dy ------------------------------------------

/// y = a + b:  da = dy,  db = dy.
template <class T>
struct Add {
  CRISP_INLINE static T value(T a, T b) { return a + b; }
  CRISP_INLINE static T da(T dy, T, T) { return dy; }
  CRISP_INLINE static T db(T dy, T, T) { return dy; }
};

/// y = a - b:  da = dy,  db = -dy.
template <class T>
struct Sub {
  CRISP_INLINE static T value(T a, T b) { return a - b; }
  CRISP_INLINE static T da(T dy, T, T) { return dy; }
  CRISP_INLINE static T db(T dy, T, T) { return -dy; }
};

/// y = a b:  da = dy b,  db = dy a.
template <class T>
struct Mul {
  CRISP_INLINE static T value(T a, T b) { return a * b; }
  CRISP_INLINE static T da(T dy, T, T b) { return dy * b; }
  CRISP_INLINE static T db(T dy, T a, T) { return dy * a; }
};

/// y = a / b:  da = dy / b,  db = -dy a / b^2.
template <class T>
struct Div {
  CRISP_INLINE static T value(T a, T b) { return a / b; }
  CRISP_INLINE static T da(T dy, T, T b) { return dy / b; }
  CRISP_INLINE static T db(T dy, T a, T b) { return -dy * a / (b * b); }
};

/// f(formula), for the formula of `op`.
template <class T, class F>
void with_formula(BinaryOp op, F f) {
  switch (op) {
    case BinaryOp::add:
      return f(Add<T>{});
    case BinaryOp::sub:
      return f(Sub<T>{});
    case BinaryOp::mul:
      return f(Mul<T>{});
    case BinaryOp::div:
      return f(Div<T>{});
  }
}

// --- weights that add up to 1 along a row ----------------------------------------------------------------------------
// Softmax, sparsemax and 1.5-entmax are members of one family (Peters, Niculae & Martins, arXiv 1905.05702; alpha = 1,
// 2, 1.5), and so are their derivatives: dy_i / dx_j = s_i [i = j] - s_i s_j / sum(s) with s = y^(2 - alpha), the
// `sensitivity` of a weight. Hence
//   dx = s (dy - mean),   mean = sum(s dy) / sum(s), which for the softmax is sum(y dy).

/// dx of one element. A factor of the scores may go with s.
template <class T>
CRISP_INLINE T normaliser_gradient(T s, T dy, T mean) {
  return s * (dy - mean);
}

/// y = e^(x - m) / sum(e^(x - m)); any m gives the same, the row's maximum lets no exponential overflow. s = y.
template <class T, class Math>
struct Softmax {
  CRISP_INLINE static T exponential(T x, T m) { return Math::exp(x - m); }
  CRISP_INLINE static T value(T exponential, T inverse_sum) { return exponential * inverse_sum; }
  /// -sum(y ln y), from sum(e^(x - m)) and the sum of those terms times x - m.
  CRISP_INLINE static double entropy(double sum, double weighted_sum) { return std::log(sum) - weighted_sum / sum; }
};

/// y = max(x - t, 0) (Martins & Astudillo, arXiv 1602.02068); t is such that the weights add up to 1. s = 1 for y > 0.
template <class T, class Math>
struct Sparsemax {
  static constexpr T score_factor = 1;  // of x, before t is subtracted
  static constexpr T power = 1;
  /// The weight of x = t + over, and its derivative divided by `power`; over >= 0.
  CRISP_INLINE static T weight(T over) { return over; }
  CRISP_INLINE static T slope(T over) { return over > T(0) ? T(1) : T(0); }
  /// Of a weight above 0, or NaN.
  CRISP_INLINE static T sensitivity(T y) { return y == y ? T(1) : y; }
};

/// y = max(x / 2 - t, 0)^2, as sparsemax. s = sqrt(y).
template <class T, class Math>
struct Entmax15 {
  static constexpr T score_factor = T(0.5);
  static constexpr T power = 2;
  CRISP_INLINE static T weight(T over) { return over * over; }
  CRISP_INLINE static T slope(T over) { return over; }
  CRISP_INLINE static T sensitivity(T y) { return Math::sqrt(y); }
};

/// Newton's step towards the threshold of Sparsemax or Entmax15, where the weights add up to 1: their sum has the
/// derivative -power sum(slopes) with respect to t.
template <class Formula>
CRISP_INLINE double next_threshold(double t, double weights, double slopes) {
  return t + (weights - 1) / (Formula::power * slopes);
}

/// y = x - m - ln sum(e^(x - m)):  dy_i / dx_j = [i = j] - softmax_j, so dx = dy - e^y sum(dy).
template <class T, class Math>
struct LogSoftmax {
  CRISP_INLINE static T value(T x, T m, T log_sum) { return (x - m) - log_sum; }
  CRISP_INLINE static T gradient(T y, T dy, T sum_dy) { return dy - Math::exp(y) * sum_dy; }
};

/// The mean over rows of -ln p[label], p = softmax(x):  dx = dy / rows (p - [label]).
template <class T, class Math>
struct CrossEntropy {
  /// Of a row whose sum(e^(x - m)) is given, in f64.
  CRISP_INLINE static double loss(double x_label, double m, double sum) { return Math::log(sum) - (x_label - m); }
  CRISP_INLINE static T gradient(T p, bool is_label, T dy_per_row) {
    return dy_per_row * (p - (is_label ? T(1) : T(0)));
  }
};

/// The gate of a learned span z (Sukhbaatar et al., arXiv 1905.07799): a key at this distance has the weight
/// gate e^x / sum(gate e^x) with gate = min(max((ramp + z - distance) / ramp, 0), 1). That is the softmax of x + ln
/// gate, so dz = dx / (gate ramp) inside the ramp, 0 < gate < 1, and 0 outside.
struct SpanGate {
  /// NaN where the span is.
  CRISP_INLINE static double value(double ramp, double span, double distance) {
    const double gate = (ramp + span - distance) / ramp;
    return gate < 0 ? 0 : gate > 1 ? 1 : gate;
  }
  CRISP_INLINE static double gradient(double gate, double ramp, double dx) { return dx / (gate * ramp); }
};

// --- rows with mean 0 and variance 1 ---------------------------------------------------------------------------------

/// LayerNorm (Ba, Kiros & Hinton, arXiv 1607.06450) of a row of N elements: y = w n + b with n = (x - mean) r and
/// r = 1 / sqrt(variance + epsilon). With h = dy w, and as mean and r depend on every x (dmean / dx = 1 / N,
/// dr / dx = -r^2 n / N):
///   dx = r (h - mean(h) - n mean(h n)),   dw = sum over rows of dy n,   db = sum over rows of dy.
template <class T, class Math>
struct LayerNorm {
  CRISP_INLINE static T inverse(double variance, double epsilon) {
    return T(1) / Math::sqrt(static_cast<T>(variance + epsilon));
  }
  CRISP_INLINE static T normalised(T x, T mean, T inverse) { return (x - mean) * inverse; }
  CRISP_INLINE static T value(T n, T weight, T bias) { return n * weight + bias; }
  CRISP_INLINE static T dx(T h, T n, T inverse, T mean_h, T mean_hn) { return inverse * (h - mean_h - n * mean_hn); }
  CRISP_INLINE static T dweight(T dy, T n) { return dy * n; }
};

// --- dropout ---------------------------------------------------------------------------------------------------------

/// x where the factor f keeps it, else 0, even where x is not finite.
template <class T>
CRISP_INLINE T kept(T x, T f) {
  return f == T{} ? T{} : x;
}
/// Dropout (Srivastava et al., JMLR 15, 2014): y = f x, dx = f dy (one function for both), with f = 0 where chance
/// drops the element, else 1 / (1 - p), so that the mean stays.
template <class T>
CRISP_INLINE T dropout(T x, T f) {
  return kept(x * f, f);
}
/// The same of attention's weights, in which a NaN must stay: it stands for a broken score, and chance could remove all
/// weights of its row.
template <class T>
CRISP_INLINE T weight_dropout(T w, T f) {
  return w * f;
}
template <class T>
CRISP_INLINE T dropout_factor(double p) {
  return static_cast<T>(1 / (1 - p));
}

// --- clipping --------------------------------------------------------------------------------------------------------

/// What gradients of this 2-norm are multiplied with, so that it is at most max_norm (Pascanu, Mikolov & Bengio, arXiv
/// 1211.5063), with the 1e-6 of torch's clip_grad_norm_. A max_norm of 0 clips nothing.
CRISP_INLINE double clip_factor(double norm, double max_norm) {
  const double factor = max_norm > 0 ? max_norm / (norm + 1e-6) : 1;
  return factor < 1 ? factor : 1;
}

// --- AdamW -----------------------------------------------------------------------------------------------------------

/// First moments below this become 0. Without new gradients they decay as beta1^k, and the smallest denormal numbers
/// round to themselves for ever: on some CPUs each operation on them takes a hundred times as long. With |m| < 2^-100
/// (f64: 2^-900) a step of learning rate r moves a weight by less than r * 1e-30 / epsilon. A second moment so small
/// goes with its first moment, never alone: it is the denominator of what is left.
template <class T>
constexpr T negligible = sizeof(T) == 8 ? static_cast<T>(0x1p-900) : static_cast<T>(0x1p-100);

/// AdamW (Loshchilov & Hutter, arXiv 1711.05101), one step t of one parameter p with the gradient g, epsilon added to
/// the bias-corrected root as torch.optim.AdamW does:
///   m = m + (1 - beta1) (g - m),   v = beta2 v + (1 - beta2) g^2,
///   p = p - rate decay p - rate m' / (sqrt(v') + epsilon),   m' = m / (1 - beta1^t), v' = v / (1 - beta2^t).
/// A backend compiles it without contraction: rounding then depends on these lines alone, not on which product of which
/// loop the compiler fuses with a sum, and rows that catch up have the bits of rows that never waited.
template <class T, class Math>
struct AdamW {
  T blend1, keep2, blend2, epsilon;  // the same for all steps

  /// AdamWRates in the type of the computation: the same for all elements of a step.
  struct Rates {
    T decay, size, root;
    CRISP_INLINE explicit Rates(const AdamWRates& r)
        : decay(static_cast<T>(r.decay)), size(static_cast<T>(r.size)), root(static_cast<T>(r.root)) {}
  };

  CRISP_INLINE explicit AdamW(const AdamWStep& s)
      : blend1(static_cast<T>(1 - s.beta1)),
        keep2(static_cast<T>(s.beta2)),
        blend2(static_cast<T>(1 - s.beta2)),
        epsilon(static_cast<T>(s.epsilon)) {}

  CRISP_INLINE void advance(const Rates& r, T g, T& parameter, T& m, T& v) const {
    const T m1 = m + blend1 * (g - m);
    const T v1 = faded(v) + blend2 * (g * g);
    const bool gone = (m1 < T(0) ? -m1 : m1) < negligible<T>;
    m = gone ? T(0) : m1;
    v = flushed(v1, gone);
    parameter = moved(r, parameter, m / (Math::sqrt(v) * r.root + epsilon));
  }

  // The parts of advance(), for who knows that g and m are 0.
  CRISP_INLINE T faded(T v) const { return keep2 * v; }
  CRISP_INLINE static T flushed(T v, bool gone) { return gone && v < negligible<T> ? T(0) : v; }
  /// The decay is not a factor 1 - decay: in f32 that would round away a good part of a decay of 1e-7.
  CRISP_INLINE static T moved(const Rates& r, T parameter, T direction) {
    return parameter - (r.decay * parameter + r.size * direction);
  }
};

}  // namespace formulas
}  // namespace crisp
