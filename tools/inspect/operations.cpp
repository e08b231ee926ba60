#include "tools/inspect/operations.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "engine/op.h"

namespace crisp::inspect {
namespace {

std::vector<std::string> parts_of(const ScopeName* scope) {
  std::vector<std::string> parts;
  for (; scope; scope = scope->parent.get()) parts.push_back(scope->name);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::string dotted(std::span<const std::string> scope, const std::string& operation) {
  if (!scope.empty() && scope[0] == "DistilBert") scope = scope.subspan(1);
  return scope.empty() ? operation : fmt::format("{}.{}", fmt::join(scope, "."), operation);
}

// Which of the first `count` nodes made the tensor.
std::optional<size_t> maker(std::span<const NodeInfo> nodes, size_t count, const Tensor& t) {
  for (size_t j = count; j-- > 0;)
    if (nodes[j].output.same_as(t)) return j;
  return {};
}

}  // namespace

std::vector<Tensor> distinct_inputs(std::span<const NodeInfo> nodes, size_t i) {
  std::vector<Tensor> results, leaves;
  for (const Tensor& t : nodes[i].inputs) {
    std::vector<Tensor>& list = maker(nodes, i, t) ? results : leaves;
    if (std::none_of(list.begin(), list.end(), [&](const Tensor& other) { return other.same_as(t); }))
      list.push_back(t);
  }
  results.insert(results.end(), leaves.begin(), leaves.end());
  return results;
}

std::vector<Operation> operations_of(std::span<const NodeInfo> nodes) {
  std::vector<Operation> operations;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const NodeInfo& node = nodes[i];
    Operation operation{node.op->name, parts_of(node.scope.get()), {}, node.output.shape(), node.flops};
    for (const Tensor& t : distinct_inputs(nodes, i)) {
      if (const std::optional<size_t> made_by = maker(nodes, i, t))
        operation.inputs.push_back({made_by, "", t.shape(), false});
      else
        operation.inputs.push_back({{}, t.name(), t.shape(), t.requires_grad()});
    }
    operations.push_back(std::move(operation));
  }
  return operations;
}

std::optional<size_t> node_about_to_run(const Tape& tape) {
  const std::vector<NodeInfo> nodes = tape.nodes();
  for (size_t i = nodes.size(); i-- > 0;)
    if (nodes[i].output) return i;  // those behind it have run
  return {};
}

std::string shape_text(const Shape& shape) {
  return shape.rank() == 0 ? "1" : fmt::format("{}", fmt::join(shape.dims(), "x"));
}

std::string scope_text(const Operation& operation) {
  return operation.scope.empty() ? "objective" : fmt::format("{}", fmt::join(operation.scope, " > "));
}

std::string dotted_name(const Operation& operation) { return dotted(operation.scope, operation.name); }

std::string dotted_name(const NodeInfo& node) { return dotted(parts_of(node.scope.get()), node.op->name); }

std::string last_words(const std::string& parameter) {
  const size_t last = parameter.rfind('.');
  const size_t before = last == std::string::npos || last == 0 ? last : parameter.rfind('.', last - 1);
  return before == std::string::npos ? parameter : parameter.substr(before + 1);
}

// In the order of engine/ops.h.
Formula formula_of(const std::string& operation) {
  static const std::map<std::string, Formula> formulas = {
      {"add", {"y = a + b", "da = dy, db = dy, summed where an operand was repeated"}},
      {"sub", {"y = a - b", "da = dy, db = -dy, summed where an operand was repeated"}},
      {"mul", {"y = a * b", "da = dy * b, db = dy * a, summed where an operand was repeated"}},
      {"div", {"y = a / b", "da = dy / b, db = -dy * y / b, summed where an operand was repeated"}},
      {"scale", {"y = c x", "dx = c dy"}},
      {"exp", {"y = e^x", "dx = dy * y"}},
      {"log", {"y = ln x", "dx = dy / x"}},
      {"sqrt", {"y = sqrt(x)", "dx = dy / (2 y)"}},
      {"tanh", {"y = tanh x", "dx = dy * (1 - y^2)"}},
      {"sigmoid", {"y = 1 / (1 + e^-x)", "dx = dy * y * (1 - y)"}},
      {"relu", {"y = max(x, 0)", "dx = dy where x > 0, else 0"}},
      {"erf", {"y = erf x", "dx = dy * 2/sqrt(pi) e^(-x^2)"}},
      {"gelu", {"y = x Phi(x)", "dx = dy * (Phi(x) + x phi(x))"}},
      {"dropout", {"y = m * x, m = 0 with probability p, else 1/(1-p)", "dx = m * dy"}},
      {"sum", {"y = sum of x over an axis, or all", "dx = dy, repeated"}},
      {"mean", {"y = mean of x over an axis, or all", "dx = dy / n, repeated"}},
      {"max", {"y = largest x over an axis", "dx = dy at the first maximum, else 0"}},
      {"slice", {"y = a part of x along an axis", "dx = dy there, else 0"}},
      {"concat", {"y = (x1 | x2 | ..) along an axis", "dx1, dx2, .. = their parts of dy"}},
      {"reshape", {"y = x in another shape", "dx = dy in x's shape"}},
      {"transpose", {"y = x'", "dx = dy'"}},
      {"embedding", {"y = rows of a table", "dtable = dy, added to those rows"}},
      {"matmul", {"y = a b", "da = dy b', db = a' dy"}},
      {"linear", {"y = x W' + b", "dx = dy W, dW = dy' x, db = column sums of dy"}},
      {"linears",
       {"y = (x W1' + b1 | x W2' + b2 | ..)", "dx = dy (W1; W2; ..), dWi = dyi' x, dbi = column sums of dyi"}},
      {"feed_forward",
       {"y = gelu(h) D' + c with h = x U' + b",
        "dh = (dy D) * gelu'(h), dx = dh U, dU = dh' x, db = column sums of dh, dD = dy' gelu(h), dc = column sums of "
        "dy"}},
      {"softmax", {"y = e^x / sum of e^x, by rows", "dx = y * (dy - sum of dy * y)"}},
      {"log_softmax", {"y = x - ln(sum of e^x), by rows", "dx = dy - e^y * sum of dy"}},
      {"layer_norm",
       {"y = n * w + b with n = (x - mean) / sqrt(variance + epsilon), by rows",
        "g = dy * w, dx = (g - mean g - n * mean(g * n)) / sqrt(variance + epsilon), dw = sum of dy * n, db = sum of "
        "dy"}},
      {"residual_layer_norm",
       {"y = layer_norm(x + dropout(r)) with w and b",
        "dz as of layer_norm with z = x + dropout(r); dx = dz, dr = dropout(dz), dw = sum of dy * n, db = sum of dy"}},
      {"embeddings_layer_norm",
       {"y = dropout(layer_norm(words[ids] + positions[0, 1, ..])) with w and b",
        "dz as of layer_norm, added to the rows of words and of positions; dw = sum of dy * n, db = sum of dy"}},
      {"cross_entropy",
       {"y = mean of -ln softmax(x)[label]", "dx = dy (softmax(x) - 1 at the label) / number of rows"}},
      {"attention",
       {"y = A v with A = softmax(scale q k' over the kept keys), for each head",
        "dA = dy v', dS = A * (dA - sum of dA * A), dq = scale dS k, dk = scale dS' q, dv = A' dy"}},
      {"absorb_keys",
       {"y = (q_h W_h | q_h b_h | 0), one row for each head h", "dq_h = dy (W_h | b_h)', dW_h and db_h = q_h' dy"}},
      {"absorb_values",
       {"y_h = x_h (W_h | b_h)', for each head h", "dx_h = dy_h (W_h | b_h), dW_h and db_h = dy_h' x_h"}},
  };
  const auto found = formulas.find(operation);
  return found == formulas.end() ? Formula{"", ""} : found->second;
}

}  // namespace crisp::inspect
