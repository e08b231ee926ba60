#include "engine/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/fail.h"
#include "engine/ops.h"

namespace crisp {
namespace {

void require_f64(const Tensor& t) {
  if (t.dtype() != DType::f64) fail("gradient check: {} must be an f64 tensor, not {}", t.label(), name_of(t.dtype()));
}

double relative(double difference, double a, double b) {
  const double size = std::max(std::abs(a), std::abs(b));
  if (std::isnan(difference) || std::isnan(size)) return std::nan("");
  return difference == 0 ? 0 : difference / size;
}

// The largest value, or NaN if there is one: a NaN must never look like a pass.
double largest(double a, double b) { return std::isnan(a) || b < a ? a : b; }

// Weighted sum of the derivatives of several values along one line, from the values at -2h, -h, h, 2h.
double difference_quotient(const std::vector<double> (&at)[4], const std::vector<double>& weights, double h) {
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) sum += weights[i] * (8 * (at[2][i] - at[1][i]) - (at[3][i] - at[0][i]));
  return sum / (12 * h);
}

constexpr double multiples[4] = {-2, -1, 1, 2};

template <class F>
class AtEnd {
 public:
  explicit AtEnd(F f) : f_(std::move(f)) {}
  ~AtEnd() { f_(); }

 private:
  F f_;
};

InputCheck compare(const std::string& label, const std::vector<double>& analytic, const std::vector<double>& numeric) {
  InputCheck check{.label = label, .elements = static_cast<int64_t>(numeric.size())};
  double difference = 0, norm_a = 0, norm_n = 0;
  for (size_t i = 0; i < numeric.size(); ++i) {
    const double d = std::abs(analytic[i] - numeric[i]);
    difference += d * d;
    norm_a += analytic[i] * analytic[i];
    norm_n += numeric[i] * numeric[i];
  }
  const double rms = std::sqrt(std::max(norm_a, norm_n) / static_cast<double>(std::max<size_t>(numeric.size(), 1)));
  double worst = -1;
  for (size_t i = 0; i < numeric.size(); ++i) {
    const double size = std::max(std::abs(numeric[i]), InputCheck::element_floor * rms);
    const double error = relative(std::abs(analytic[i] - numeric[i]), analytic[i], size);
    if (std::isnan(worst) || error <= worst) continue;
    worst = check.element_error = error;
    check.worst = static_cast<int64_t>(i);
    check.analytic = analytic[i];
    check.numeric = numeric[i];
  }
  check.relative_error = relative(std::sqrt(difference), std::sqrt(norm_a), std::sqrt(norm_n));
  return check;
}

}  // namespace

double GradCheckReport::max_error() const {
  double worst = 0;
  for (const InputCheck& c : inputs) worst = largest(largest(worst, c.relative_error), c.element_error);
  return worst;
}

std::string GradCheckReport::str() const {
  std::string text;
  for (const InputCheck& c : inputs) {
    text += fmt::format("{:<24} {:>8} elements  relative error {:.2e}", c.label, c.elements, c.relative_error);
    if (c.worst >= 0)
      text += fmt::format("  of an element {:.2e}, worst at {}: analytic {:.12g}, numeric {:.12g}", c.element_error,
                          c.worst, c.analytic, c.numeric);
    text += '\n';
  }
  return text;
}

double DirectionalReport::max_error() const {
  double worst = 0;
  for (const DirectionCheck& c : directions) worst = largest(worst, c.relative_error);
  return worst;
}

std::string DirectionalReport::str() const {
  std::string text;
  for (size_t i = 0; i < directions.size(); ++i)
    text += fmt::format("direction {:>3}  analytic {:.12g}, numeric {:.12g}  relative error {:.2e}\n", i,
                        directions[i].analytic, directions[i].numeric, directions[i].relative_error);
  return text;
}

GradCheckReport check_gradients(const std::function<Tensor(Tape&, std::span<const Tensor>)>& f,
                                const std::vector<Tensor>& inputs, const GradCheckOptions& options) {
  std::vector<Tensor> own;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto earlier = std::find_if(inputs.begin(), inputs.begin() + static_cast<std::ptrdiff_t>(i),
                                      [&](const Tensor& t) { return t.same_as(inputs[i]); });
    const auto at = static_cast<size_t>(earlier - inputs.begin());
    if (at < i) {
      own.push_back(own[at]);
      continue;
    }
    if (inputs[i].requires_grad()) require_f64(inputs[i]);
    own.push_back(inputs[i].detach().clone().set_name(inputs[i].name()).set_requires_grad(inputs[i].requires_grad()));
  }

  Tape tape;
  const Tensor out = f(tape, own);
  if (!out.requires_grad())
    fail("gradient check: the result {} depends on no input that requires a gradient", out.label());
  const Tensor weights = Tensor::normal(out.shape(), DType::f64, {.seed = options.seed, .stream = Stream::init});
  const std::vector<double> w = weights.to_vector();
  tape.backward(sum(tape, mul(tape, out, weights.to(out.device()))));

  const auto value = [&] {
    Tape inference(Tape::Mode::inference);
    return f(inference, own).to_vector();
  };
  GradCheckReport report;
  for (size_t i = 0; i < own.size(); ++i) {
    const Tensor& x = own[i];
    const bool repeated = std::any_of(own.begin(), own.begin() + static_cast<std::ptrdiff_t>(i),
                                      [&](const Tensor& t) { return t.same_as(x); });
    if (!x.requires_grad() || repeated) continue;
    const auto n = static_cast<size_t>(x.numel());
    const Tensor gradient = x.grad();
    const std::vector<double> analytic = gradient ? gradient.to_vector() : std::vector<double>(n);
    std::vector<double> numeric(n);
    const Tensor moved = x.detach().to(Device::cpu);  // x itself where it is there
    auto* elements = moved.data<double>();
    // A power of two, so that x + h - x is h (unless x is huge).
    const double h = std::exp2(std::round(std::log2(options.step)));
    for (size_t e = 0; e < n; ++e) {
      const double before = elements[e];
      std::vector<double> at[4];
      for (int k = 0; k < 4; ++k) {
        elements[e] = before + multiples[k] * h;
        x.copy_from(moved);
        at[k] = value();
      }
      elements[e] = before;
      x.copy_from(moved);
      numeric[e] = difference_quotient(at, w, h);
    }
    report.inputs.push_back(compare(x.name().empty() ? fmt::format("input {}", i) : x.name(), analytic, numeric));
  }
  return report;
}

DirectionalReport check_directional(const std::function<Tensor(Tape&)>& f, const std::vector<Tensor>& parameters,
                                    int directions, uint64_t seed, double step) {
  for (const Tensor& p : parameters) {
    require_f64(p);
    if (!p.requires_grad()) fail("gradient check: {} does not require a gradient", p.label());
    p.clear_grad();
  }
  {
    Tape tape;
    tape.backward(f(tape));
  }
  std::vector<std::vector<double>> values, gradients;
  for (const Tensor& p : parameters) {
    values.push_back(p.to_vector());
    gradients.push_back(p.grad() ? p.grad().to_vector() : std::vector<double>(values.back().size()));
    p.clear_grad();
  }
  const auto loss = [&] {
    Tape inference(Tape::Mode::inference);
    return f(inference).to_vector();
  };

  DirectionalReport report;
  for (int d = 0; d < directions; ++d) {
    std::vector<std::vector<double>> direction(parameters.size());
    double squares = 0;
    for (size_t i = 0; i < parameters.size(); ++i) {
      const RandomKey key{seed, Stream::init, static_cast<uint32_t>(d), static_cast<uint32_t>(i)};
      for (size_t e = 0; e < values[i].size(); ++e) {
        direction[i].push_back(normal(key, e));
        squares += direction[i][e] * direction[i][e];
      }
    }
    const double length = std::sqrt(squares);
    DirectionCheck check;
    for (size_t i = 0; i < parameters.size(); ++i) {
      for (size_t e = 0; e < values[i].size(); ++e) {
        direction[i][e] /= length;
        check.analytic += gradients[i][e] * direction[i][e];
      }
    }
    const auto move = [&](double distance) {
      for (size_t i = 0; i < parameters.size(); ++i) {
        std::vector<double> p = values[i];
        for (size_t e = 0; e < p.size(); ++e) p[e] += distance * direction[i][e];
        parameters[i].copy_from(Tensor::from(p, parameters[i].shape(), DType::f64));
      }
    };
    std::vector<double> at[4];
    {
      const AtEnd back([&] { move(0); });  // also where f throws
      for (int k = 0; k < 4; ++k) {
        move(multiples[k] * step);
        at[k] = loss();
      }
    }
    check.numeric = difference_quotient(at, {1.0}, step);
    check.relative_error = relative(std::abs(check.analytic - check.numeric), check.analytic, check.numeric);
    report.directions.push_back(check);
  }
  return report;
}

}  // namespace crisp
