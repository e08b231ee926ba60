#include "engine/line_proof.h"

#include <algorithm>
#include <cmath>

namespace crisp {
namespace {

double relative(double a, double b) {
  const double size = std::max(std::abs(a), std::abs(b));
  return a == b ? 0 : std::abs(a - b) / size;  // NaN stays
}

// For a step of 0: the slope between steps differs from that by a term in h, which the last two slopes tell. From the
// last step whose remainder is far above the rounding of f, if a step before it says nearly the same.
std::optional<double> slope_of(const std::vector<LineStep>& steps, double rounding) {
  constexpr double far = 1e3, largest_step = 0.1, agreement = 0.1;
  std::optional<double> slope;
  for (size_t i = 2; i < steps.size() && steps[i].remainder > far * rounding; ++i) {
    if (steps[i].step > largest_step) continue;
    const double last = std::log2(steps[i - 1].remainder / steps[i].remainder);
    const double before = std::log2(steps[i - 2].remainder / steps[i - 1].remainder);
    slope = std::abs(last - before) < agreement ? std::optional(2 * last - before) : std::nullopt;
  }
  return slope;
}

}  // namespace

bool LineProof::passes(double tolerance) const {
  return std::abs(numeric - analytic) <= tolerance * std::max(std::abs(numeric), std::abs(analytic)) + resolution;
}

bool LineProof::is_zero() const { return std::abs(numeric) <= 2 * resolution && std::abs(analytic) <= 2 * resolution; }

LineProof prove_along(const std::function<double(double)>& f, double analytic, const LineProofOptions& options) {
  LineProof proof;
  proof.value = f(0);
  proof.analytic = analytic;
  double largest_value = std::abs(proof.value);
  // Powers of two, so that steps and their halves are exact.
  double h = std::exp2(std::floor(std::log2(options.largest)));
  while (h > options.limit) h /= 2;
  for (; h >= options.smallest; h /= 2) {
    const double ahead = f(h), behind = f(-h);
    LineStep step{.step = h, .central = (ahead - behind) / (2 * h)};
    step.error = relative(step.central, analytic);
    step.remainder = std::abs((ahead - proof.value) - h * analytic);
    proof.steps.push_back(step);
    largest_value = std::max({largest_value, std::abs(ahead), std::abs(behind)});
  }
  const double rounding = std::numeric_limits<double>::epsilon() * largest_value;
  double least_change = std::numeric_limits<double>::infinity();
  const auto fourth_order = [&](size_t i) {  // from D(h), D(2h)
    return (4 * proof.steps[i].central - proof.steps[i - 1].central) / 3;
  };
  for (size_t i = 2; i < proof.steps.size(); ++i) {
    // What rounding alone would change counts, too, or chance decides among steps that are too small.
    const double change = std::abs(fourth_order(i) - fourth_order(i - 1)) + rounding / proof.steps[i].step;
    if (!(change < least_change)) continue;
    least_change = change;
    proof.numeric = fourth_order(i);
    proof.numeric_step = proof.steps[i].step;
  }
  if (proof.numeric_step > 0) proof.resolution = 16 * rounding / proof.numeric_step;
  proof.error = relative(proof.numeric, analytic);
  proof.slope = slope_of(proof.steps, rounding);
  return proof;
}

}  // namespace crisp
