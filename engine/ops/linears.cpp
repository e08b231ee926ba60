// Several linear layers of one input, their results side by side: y = (x w0' + b0 | x w1' + b1 | ..). Saves x and the
// parameters. Where these lie one under the other in memory, the layers are one layer.
#include <algorithm>
#include <array>
#include <vector>

#include "engine/host_memory.h"
#include "engine/op.h"
#include "engine/ops.h"
#include "engine/ops/linear.h"

namespace crisp {

extern const Op linears_op;

namespace {

template <class T>
using List = std::vector<T, CachedAlloc<T>>;  // a training step asks the system for nothing

struct Layers {
  List<Tensor> weights, biases;  // biases: empty handles where a layer has none
  Tensor weight, bias;           // of all, where they are one under the other; else empty

  explicit Layers(std::span<const LinearLayer> layers) {
    weights.reserve(layers.size());
    biases.reserve(layers.size());
    for (const LinearLayer& layer : layers) {
      weights.push_back(layer.weight);
      biases.push_back(layer.bias);
    }
    weight = Tensor::joined(weights);
    bias = Tensor::joined(biases);
    if (!bias && std::any_of(biases.begin(), biases.end(), [](const Tensor& b) { return static_cast<bool>(b); }))
      weight = {};
  }
  int64_t out() const {
    int64_t sum = 0;
    for (const Tensor& w : weights) sum += w.dim(0);
    return sum;
  }
};

// f(i, columns of `all`) for each layer.
template <class F>
void for_layers(const Layers& layers, const Tensor& all, F f) {
  int64_t first = 0;
  for (size_t i = 0; i < layers.weights.size(); ++i) {
    const int64_t count = layers.weights[i].dim(0);
    f(i, Columns(all, first, count));
    first += count;
  }
}

bool any_requires_grad(std::span<const Tensor> parts) {
  return std::any_of(parts.begin(), parts.end(), [](const Tensor& t) { return t.requires_grad(); });
}

// Whether one kernel can write the gradients of all `parts` in one way.
bool have_one_target(std::span<const Tensor> parts) {
  return std::all_of(parts.begin(), parts.end(), [&](const Tensor& t) {
    return t.requires_grad() && static_cast<bool>(t.gradient()) == static_cast<bool>(parts[0].gradient());
  });
}

// The place of the gradients of all `parts`, as if they were one tensor, and what makes each of them present.
struct JointTarget {
  List<GradTarget> each;
  GradTarget all;

  JointTarget() = default;
  explicit JointTarget(std::span<const Tensor> parts) {
    Tensor::join_gradients(parts);
    List<Tensor> places;
    places.reserve(parts.size());
    each.reserve(parts.size());
    for (const Tensor& t : parts) places.push_back(each.emplace_back(t.grad_target()).tensor);
    all.tensor = Tensor::joined(places);
    all.beta = each[0].beta;
  }
};

void backward_parameters(const Context& context, const Layers& layers, const Tensor& x, const Tensor& d) {
  const bool biases = any_requires_grad(layers.biases);
  // Where a product forms the squares of a gradient, each gradient has to have its own.
  if (layers.weight && !backend(d.device()).products_form_squares && have_one_target(layers.weights) &&
      (!biases || have_one_target(layers.biases))) {
    const JointTarget dweight(layers.weights), dbias = biases ? JointTarget(layers.biases) : JointTarget();
    return linear_backward_parameters(context, d, x, dweight.all, dbias.all);
  }
  for_layers(layers, d, [&](size_t i, const Columns& columns) {
    linear_backward_parameters(context, columns, x, layers.weights[i].grad_target(), layers.biases[i].grad_target());
  });
}

}  // namespace

Tensor linears(Tape& tape, const Tensor& x, std::span<const LinearLayer> layers) {
  const Op& op = linears_op;
  if (layers.empty()) fail_operands(tape, op, "there are no layers", {{"x", x}});
  for (const LinearLayer& layer : layers) {
    const auto complain = [&](const char* problem) {
      fail_operands(tape, op, problem, {{"x", x}, {"weight", layer.weight}, {"bias", layer.bias}});
    };
    check_same_type(tape, op, {{"x", x}, {"weight", layer.weight}, {"bias", layer.bias}});
    if (!x || !layer.weight) complain("x and weight are needed");
    if (x.rank() < 1 || layer.weight.rank() != 2) complain("x must be [.., in] and weight [out, in]");
    if (x.shape().last() != layer.weight.dim(1)) complain("inner dimensions differ");
    if (layer.bias && layer.bias.shape() != Shape{layer.weight.dim(0)}) complain("bias must be [out]");
  }
  const Layers all(layers);
  const int64_t rows = x.shape().rows(), in = x.shape().last(), out = all.out();
  List<Tensor> inputs(all.weights);
  inputs.insert(inputs.end(), all.biases.begin(), all.biases.end());
  inputs.push_back(x);
  const Tensor y = tape.output(op, x.shape().with(-1, out), x.dtype(), inputs);
  if (all.weight) {
    linear_forward(tape.context(), x, all.weight, all.bias, y, Tensor());
  } else {
    for_layers(all, y, [&](size_t i, const Columns& columns) {
      linear_forward(tape.context(), x, all.weights[i], all.biases[i], columns, Tensor());
    });
  }
  const double flops = 2.0 * static_cast<double>(rows * in) * static_cast<double>(out);
  tape.record(op, y, flops, [x, all](const Context& context, const Tensor& d) {
    if (const GradTarget dx = x.grad_target()) {
      if (all.weight) {
        linear_backward_input(context, d, all.weight, dx);
      } else {
        for_layers(all, d, [&](size_t i, const Columns& columns) {
          linear_backward_input(context, columns, all.weights[i], GradTarget(dx.tensor, i > 0 ? 1 : dx.beta));
        });
      }
    }
    backward_parameters(context, all, x, d);
  });
  return y;
}

// --- samples ---------------------------------------------------------------------------------------------------------

namespace {

// Layers of 2 and 3 results, in memory of their own. (The tests of projections have others.)
std::vector<Sample> linears_samples() {
  const Tensor first = sample_input({2, 3}, 2), second = sample_input({3, 3}, 3), bias = sample_input({2}, 4),
               bias_2 = sample_input({3}, 5);
  const auto of = [](const Shape& shape) { return sample_input(shape, 1); };
  const auto run = [](Tape& tape, std::span<const Tensor> in) {
    return linears(tape, in[0], std::array{LinearLayer{in[1], in[3]}, LinearLayer{in[2], in[4]}});
  };
  const auto without_biases = [](Tape& tape, std::span<const Tensor> in) {
    return linears(tape, in[0], std::array{LinearLayer{in[1], {}}, LinearLayer{in[2], {}}});
  };
  const auto one_bias = [](Tape& tape, std::span<const Tensor> in) {
    return linears(tape, in[0], std::array{LinearLayer{in[1], {}}, LinearLayer{in[2], in[3]}});
  };
  const auto twice = [](Tape& tape, std::span<const Tensor> in) {
    return linears(tape, in[0], std::array{LinearLayer{in[1], in[2]}, LinearLayer{in[1], in[2]}});
  };
  return {
      {"two layers", {of({4, 3}), first, second, bias, bias_2}, run},
      {"without biases", {of({4, 3}), first, second}, without_biases},
      {"one bias", {of({4, 3}), first, second, bias_2}, one_bias},
      {"the same layer twice", {of({4, 3}), first, bias}, twice},
      {"one row", {of({1, 3}), first, second, bias, bias_2}, run},
      {"no rows", {of({0, 3}), first, second, bias, bias_2}, run},
      {"three dimensions", {of({2, 2, 3}), first, second, bias, bias_2}, run},
  };
}

}  // namespace

const Op linears_op{"linears", linears_samples};

}  // namespace crisp
