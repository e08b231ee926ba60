// Lesson 2: the tape, node by node, and a backward pass of one's own over it.
//
// Read beside it: engine/tape.h, whose first lines say the same in words. README.md leads through.
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/op.h"
#include "engine/ops.h"

using namespace crisp;

namespace {

// By the tensors' names. A tensor that is used several times gets several contributions, which add up.
using Gradients = std::map<std::string, double>;

void accumulate(Gradients& gradients, const Tensor& tensor, double contribution) {
  if (!tensor.requires_grad()) return;  // a constant
  gradients[tensor.name()] += contribution;
  fmt::print("  d{} += {:.4f}", tensor.name(), contribution);
}

// One node backwards: from dy, the gradient of its output, a contribution to the gradient of each input.
void run_backward(const NodeInfo& node, double dy, Gradients& gradients) {
  const std::string op = node.op->name;
  const Tensor &p = node.inputs.front(), &q = node.inputs.back();
  if (op == "mul") {  // y = p q
    accumulate(gradients, p, dy * q.item());
    accumulate(gradients, q, dy * p.item());
  } else if (op == "sub") {  // y = p - q
    accumulate(gradients, p, dy);
    accumulate(gradients, q, -dy);
  } else if (op == "sigmoid") {  // y = sigmoid(p)
    const double y = node.output.item();
    accumulate(gradients, p, dy * y * (1 - y));
  }
}

int claims_wrong = 0;

void claim(bool holds, const char* what) {
  fmt::print("{} {}\n", holds ? "ok   " : "WRONG", what);
  claims_wrong += holds ? 0 : 1;
}

}  // namespace

int main() {
  const auto number = [](const char* name, double value) { return Tensor::scalar(value, DType::f64).set_name(name); };
  const Tensor x = number("x", 2), w = number("w", 0.6).set_requires_grad(), t = number("t", 0.5);
  Tape tape;
  tape.keep_values();  // for inspection: inputs and values of every node, which are else freed when nobody needs them
  const Tensor a = mul(tape, x, w).set_name("a");
  const Tensor s = sigmoid(tape, a).set_name("s");
  const Tensor y = mul(tape, a, s).set_name("y");  // a is used a second time
  const Tensor e = sub(tape, y, t).set_name("e");
  const Tensor loss = mul(tape, e, e).set_name("l");

  const std::vector<NodeInfo> nodes = tape.nodes();
  fmt::print("forward: operations append nodes\n");
  for (size_t i = 0; i < nodes.size(); ++i) {
    std::string inputs;
    for (const Tensor& input : nodes[i].inputs) inputs += " " + input.name();
    fmt::print("{}  {} = {:8}{:5}  = {:7.4f}\n", i, nodes[i].output.name(), nodes[i].op->name, inputs,
               nodes[i].output.item());
  }

  fmt::print("\nbackward: from the last node to the first, each when its dy is complete\n");
  Gradients mine;
  mine[loss.name()] = 1;
  for (size_t i = nodes.size(); i-- > 0;) {
    const double dy = mine[nodes[i].output.name()];
    fmt::print("{}  {:8} d{} = {:7.4f} ", i, nodes[i].op->name, nodes[i].output.name(), dy);
    run_backward(nodes[i], dy, mine);
    fmt::print("\n");
  }

  for (const Tensor& intermediate : {a, s, y, e}) tape.keep_grad(intermediate);
  tape.backward(loss);
  fmt::print("\n");
  double error = 0;
  for (const Tensor& tensor : {e, y, s, a, w}) error += std::abs(mine[tensor.name()] - tensor.grad().item());
  claim(error < 1e-12, "Tape::backward() finds the same de, dy, ds, da and dw, to 1e-12");
  claim(!x.grad() && !t.grad(), "constants have no gradient");
  claim(!tape.nodes().front().output, "nodes that have run hold nothing any more");
  try {
    tape.backward(loss);
    claim(false, "a second backward() is refused");
  } catch (const Error&) {
    claim(true, "so a second backward() is refused");
  }
  return claims_wrong;
}
