#include "engine/op_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "engine/fail.h"
#include "engine/op.h"
#include "engine/random.h"

namespace crisp {
namespace {

using Values = std::vector<double>;

// The gradient of x as it is now, when all that runs beside has ended; zeros where there is none.
Values gradient_of(const Tensor& x) {
  backend(x.device()).join();
  const Tensor grad = x.grad();
  return grad ? grad.to_vector() : Values(static_cast<size_t>(x.numel()));
}

// Which inputs of a node are checked: each tensor once.
std::vector<size_t> checked_inputs(const NodeInfo& node) {
  std::vector<size_t> indices;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Tensor& x = node.inputs[i];
    const bool before =
        std::any_of(indices.begin(), indices.end(), [&](size_t k) { return node.inputs[k].same_as(x); });
    if (x.requires_grad() && x.numel() > 0 && !before) indices.push_back(i);
  }
  return indices;
}

// What each backward function adds to its inputs' gradients, along the directions: watches one backward pass.
class Contributions {
 public:
  Contributions(const std::vector<NodeInfo>& nodes, std::function<void(size_t, size_t, const Values&)> take)
      : nodes_(nodes), take_(std::move(take)), gradients_(nodes.size()), next_(nodes.size()) {}

  // Before a backward function runs: the last node below the ones that have run whose output has a gradient.
  void before() {
    after();
    while (next_ > 0 && !nodes_[next_ - 1].output.gradient()) --next_;
    if (next_ == 0) return;
    running_ = --next_;
    gradients_[*running_] = gradient_of(nodes_[*running_].output);
    before_.clear();
    for (const size_t i : checked_inputs(nodes_[*running_]))
      before_.push_back(gradient_of(nodes_[*running_].inputs[i]));
  }

  void after() {
    if (!running_) return;
    const NodeInfo& node = nodes_[*running_];
    const std::vector<size_t> inputs = checked_inputs(node);
    for (size_t k = 0; k < inputs.size(); ++k) {
      Values added = gradient_of(node.inputs[inputs[k]]);
      for (size_t e = 0; e < added.size(); ++e) added[e] -= before_[k][e];
      take_(*running_, inputs[k], added);
    }
    running_.reset();
  }

  // What the backward function of a node that has run was given.
  const Values& dy(size_t node) const { return gradients_[node]; }

 private:
  const std::vector<NodeInfo>& nodes_;
  std::function<void(size_t, size_t, const Values&)> take_;
  std::vector<Values> gradients_;
  size_t next_;
  std::optional<size_t> running_;
  std::vector<Values> before_;
};

Values direction(const Tensor& x, uint64_t seed, uint32_t node, uint32_t input) {
  const Values values = x.to_vector();
  double squares = 0;
  for (const double v : values) squares += v * v;
  const double rms = std::sqrt(squares / static_cast<double>(values.size()));
  const double size = rms > 0 ? rms : 0.02;  // biases begin at 0
  Values v(values.size());
  for (size_t e = 0; e < v.size(); ++e) v[e] = size * normal({seed, Stream::init, node, input}, e);
  return v;
}

// Where a tensor comes from in every run: a leaf, or the output of a node.
struct Place {
  Tensor leaf;
  size_t node = 0;
};
Place place_of(const std::vector<NodeInfo>& nodes, size_t user, const Tensor& x) {
  for (size_t p = 0; p < user; ++p)
    if (nodes[p].output.same_as(x)) return {{}, p};
  return {x, 0};
}

// The output of node `user` where its input at `place` is moved by t * v: f runs that far.
class MovedInput {
 public:
  MovedInput(const std::function<Tensor(Tape&)>& f, const Context& context, size_t user, Place place, const Values& v)
      : f_(f), context_(context), user_(user), place_(std::move(place)), v_(v) {}

  Values output(double t) const {
    struct Enough {};
    Tape tape(context_);
    tape.keep_values();
    Tensor x, original;
    Values result;
    const auto take = [&](const std::vector<NodeInfo>& nodes) { result = nodes[user_].output.to_vector(); };
    tape.before_each([&](const Op&) {
      const std::vector<NodeInfo> nodes = tape.nodes();
      if (nodes.size() > user_) {
        take(nodes);
        throw Enough();
      }
      if (x || nodes.size() < user_) return;
      x = (place_.leaf ? place_.leaf : nodes[place_.node].output).detach();  // the same elements
      original = x.clone();
      Values values = original.to_vector();
      for (size_t e = 0; e < values.size(); ++e) values[e] += t * v_[e];
      x.copy_from(Tensor::from(values, x.shape(), DType::f64).to(x.device()));
    });
    const AtEnd back([&] {
      if (x) x.copy_from(original);
    });
    try {
      f_(tape);
      take(tape.nodes());
    } catch (const Enough&) {
    }
    return result;
  }

 private:
  template <class F>
  struct AtEnd {
    explicit AtEnd(F action) : f(std::move(action)) {}
    ~AtEnd() { f(); }
    F f;
  };

  const std::function<Tensor(Tape&)>& f_;
  const Context& context_;
  size_t user_;
  Place place_;
  const Values& v_;
};

void measure(OpCheck& check, const MovedInput& moved, const Values& dy, double step) {
  const Values at[] = {moved.output(-2 * step), moved.output(-step), moved.output(step), moved.output(2 * step)};
  double sum = 0, size = 0;
  for (size_t e = 0; e < dy.size(); ++e) {
    sum += dy[e] * (8 * (at[2][e] - at[1][e]) - (at[3][e] - at[0][e]));
    size += std::abs(dy[e] * at[2][e]);
  }
  check.numeric = sum / (12 * step);
  check.resolution = 4 * std::numeric_limits<double>::epsilon() * size / step;
  const double largest = std::max(std::abs(check.numeric), std::abs(check.analytic));
  check.error = largest == 0 ? 0 : std::abs(check.numeric - check.analytic) / largest;
}

}  // namespace

bool OpCheck::passes(double tolerance) const {
  return std::abs(numeric - analytic) <= tolerance * std::max(std::abs(numeric), std::abs(analytic)) + resolution;
}

std::string OpCheck::str() const {
  return fmt::format("{}{}{}: the gradient for {} is {:.9g} by its backward function, {:.9g} by differences", op,
                     scope.empty() ? "" : " in ", scope, input, analytic, numeric);
}

std::vector<OpCheck> check_operations(const std::function<Tensor(Tape&)>& f, const Context& context,
                                      const OpCheckOptions& options) {
  Tape tape(context);
  tape.keep_values();
  const Tensor result = f(tape);
  const std::vector<NodeInfo> nodes = tape.nodes();
  for (const NodeInfo& node : nodes)
    for (const Tensor& x : node.inputs) {
      if (!x.requires_grad()) continue;
      if (x.dtype() != DType::f64) fail("check of operations: {} must be f64, not {}", x.label(), name_of(x.dtype()));
      x.clear_grad();
    }

  std::vector<OpCheck> checks;
  Contributions contributions(nodes, [&](size_t node, size_t input, const Values& added) {
    const Tensor& x = nodes[node].inputs[input];
    const Values v = direction(x, options.seed, static_cast<uint32_t>(node), static_cast<uint32_t>(input));
    OpCheck check{.node = node,
                  .op = nodes[node].op->name,
                  .scope = nodes[node].scope ? nodes[node].scope->path() : "",
                  .input = x.label(),
                  .input_index = input};
    for (size_t e = 0; e < v.size(); ++e) check.analytic += added[e] * v[e];
    checks.push_back(std::move(check));
  });
  tape.before_each([&](const Op&) { contributions.before(); });
  tape.backward(result);
  contributions.after();
  for (const NodeInfo& node : nodes)
    for (const Tensor& x : node.inputs) x.clear_grad();

  std::sort(checks.begin(), checks.end(), [](const OpCheck& a, const OpCheck& b) {
    return a.node != b.node ? a.node < b.node : a.input_index < b.input_index;
  });
  for (OpCheck& check : checks) {
    const NodeInfo& node = nodes[check.node];
    const Tensor& x = node.inputs[check.input_index];
    const Values v =
        direction(x, options.seed, static_cast<uint32_t>(check.node), static_cast<uint32_t>(check.input_index));
    const MovedInput moved(f, context, check.node, place_of(nodes, check.node, x), v);
    for (const double part : {1.0, 1e-2, 1e-4}) {
      measure(check, moved, contributions.dy(check.node), part * options.step);
      if (check.passes(options.tolerance)) break;
    }
  }
  return checks;
}

}  // namespace crisp
