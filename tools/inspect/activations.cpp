#include "tools/inspect/activations.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "data/input/text.h"
#include "engine/fail.h"
#include "tools/inspect/operations.h"
#include "tools/nearest.h"

namespace crisp::inspect {

std::vector<NamedResult> activations_of(Tape& tape) {
  std::vector<NamedResult> all;
  std::map<std::string, int> seen;
  for (const NodeInfo& node : tape.nodes()) {
    std::string name = dotted_name(node);
    const int count = ++seen[name];
    if (count > 1) name += fmt::format("#{}", count);
    tape.keep_grad(node.output);
    all.push_back({std::move(name), node.output});
  }
  return all;
}

size_t find_name(const std::string& wanted, const std::vector<std::string>& names, const std::string& what) {
  std::vector<size_t> found;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == wanted) return i;
    if (names[i].ends_with("." + wanted)) found.push_back(i);
  }
  if (found.size() == 1) return found[0];
  if (found.size() > 1)
    fail<UsageError>("{} is the end of {} names, {} for one; give more of the name", printable(wanted), found.size(),
                     names[found[0]]);
  fail<UsageError>("the model has no {} {}{}", what, printable(wanted), did_you_mean(wanted, names));
}

TensorNumbers numbers_of(const std::vector<double>& values) {
  TensorNumbers n{.min = values.at(0), .max = values[0], .largest = values[0]};
  double squares = 0, sum = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double x = values[i];
    squares += x * x;
    sum += x;
    n.zeros += x == 0;
    n.min = std::min(n.min, x);
    n.max = std::max(n.max, x);
    if (std::abs(x) > std::abs(n.largest) || (std::isnan(x) && !std::isnan(n.largest))) {
      n.largest = x;
      n.largest_at = static_cast<int64_t>(i);
    }
  }
  n.norm = std::sqrt(squares);
  n.mean = sum / static_cast<double>(values.size());
  return n;
}

std::optional<TensorNumbers> gradient_numbers(const Tensor& tensor) {
  const Gradient& gradient = tensor.gradient();
  if (!gradient) return std::nullopt;
  if (!gradient.by_rows()) return numbers_of(gradient.values().to_vector());
  if (gradient.rows().size() == 0) return TensorNumbers{.zeros = tensor.numel()};
  // All other rows are 0.
  TensorNumbers n = numbers_of(gradient.values().to_vector());
  const int64_t dim = tensor.dim(1), others = tensor.numel() - gradient.rows().size() * dim;
  n.largest_at = gradient.rows().host[static_cast<size_t>(n.largest_at / dim)] * dim + n.largest_at % dim;
  n.mean *= static_cast<double>(tensor.numel() - others) / static_cast<double>(tensor.numel());
  n.zeros += others;
  if (others > 0) {
    n.min = std::min(n.min, 0.0);
    n.max = std::max(n.max, 0.0);
  }
  return n;
}

std::vector<int64_t> place(int64_t element, const Shape& shape) {
  std::vector<int64_t> indices(static_cast<size_t>(shape.rank()));
  for (int d = shape.rank() - 1; d >= 0; --d) {
    indices[static_cast<size_t>(d)] = element % shape[d];
    element /= shape[d];
  }
  return indices;
}

std::string place_text(int64_t element, const Shape& shape) {
  return fmt::format("{}", fmt::join(place(element, shape), ","));
}

}  // namespace crisp::inspect
