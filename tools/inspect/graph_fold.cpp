#include "tools/inspect/graph_fold.h"

#include <algorithm>
#include <set>

namespace crisp::inspect {
namespace {

using Scope = std::vector<std::string>;

// "layer.0": the layers of a model are numbered.
bool is_layer(const std::string& name) {
  const size_t dot = name.find_last_not_of("0123456789");
  return dot != std::string::npos && name[dot] == '.' && dot + 1 < name.size();
}

Scope outer(const Scope& scope, size_t depth) { return {scope.begin(), scope.begin() + static_cast<ptrdiff_t>(depth)}; }

// Up to the layer; else the first scope that holds no layers itself.
size_t depth_of(const Scope& scope, const std::set<Scope>& holds_layers) {
  for (size_t d = 1; d <= scope.size(); ++d)
    if (is_layer(scope[d - 1]) || !holds_layers.contains(outer(scope, d))) return d;
  return scope.size();
}

Scope inner(const GraphPart& part, const Operation& o) {
  return {o.scope.begin() + static_cast<ptrdiff_t>(part.depth), o.scope.end()};
}

// What folds looks the same from its part.
bool same(const GraphNode& a, const GraphPart& of_a, const GraphNode& b, const GraphPart& of_b) {
  const Operation &x = a.operation, &y = b.operation;
  if (x.name != y.name || x.output != y.output || a.cost.flops != b.cost.flops || inner(of_a, x) != inner(of_b, y))
    return false;
  return std::equal(x.inputs.begin(), x.inputs.end(), y.inputs.begin(), y.inputs.end(),
                    [](const auto& i, const auto& j) { return i.shape == j.shape && i.trained == j.trained; });
}

bool same(const Graph& graph, const GraphPart& a, const GraphPart& b) {
  if (a.end - a.begin != b.end - b.begin || a.depth != b.depth || !is_layer(a.name) || !is_layer(b.name)) return false;
  for (size_t i = 0; i < a.end - a.begin; ++i)
    if (!same(graph.nodes[a.begin + i], a, graph.nodes[b.begin + i], b)) return false;
  return true;
}

void add(std::vector<CostSum>& sums, const std::string& name, const Cost& cost) {
  auto found = std::find_if(sums.begin(), sums.end(), [&](const CostSum& sum) { return sum.name == name; });
  if (found == sums.end()) found = sums.insert(sums.end(), {name});
  ++found->count;
  found->cost += cost;
}

}  // namespace

std::string GraphFold::name() const {
  return parts.size() == 1 ? parts[0].name : parts.front().name + " to " + parts.back().name;
}

std::vector<GraphPart> parts_of(const Graph& graph) {
  std::set<Scope> holds_layers;
  for (const GraphNode& node : graph.nodes) {
    const Scope& scope = node.operation.scope;
    for (size_t d = 1; d <= scope.size(); ++d)
      if (is_layer(scope[d - 1])) holds_layers.insert(outer(scope, d - 1));
  }
  std::vector<GraphPart> parts;
  Scope last;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Scope& scope = graph.nodes[i].operation.scope;
    const size_t depth = depth_of(scope, holds_layers);
    if (parts.empty() || last != outer(scope, depth)) {
      last = outer(scope, depth);
      parts.push_back({depth == 0 ? "objective" : last.back(), depth, i, i});
    }
    parts.back().end = i + 1;
  }
  return parts;
}

std::vector<GraphFold> folds_of(const Graph& graph, bool fold) {
  std::vector<GraphFold> folds;
  for (const GraphPart& part : parts_of(graph)) {
    if (fold && !folds.empty() && same(graph, folds.back().parts[0], part))
      folds.back().parts.push_back(part);
    else
      folds.push_back({{part}});
  }
  return folds;
}

std::string place_in(const GraphPart& part, const Operation& operation) {
  std::string text;
  for (const std::string& name : inner(part, operation)) text += (text.empty() ? "" : ".") + name;
  return text;
}

Cost cost_of(const Graph& graph, size_t begin, size_t end) {
  Cost sum;
  for (size_t i = begin; i < end; ++i) sum += graph.nodes[i].cost;
  return sum;
}

std::vector<CostSum> sums_by_operation(const Graph& graph) {
  std::vector<CostSum> sums;
  for (const GraphNode& node : graph.nodes) add(sums, node.operation.name, node.cost);
  std::stable_sort(sums.begin(), sums.end(), [](const CostSum& a, const CostSum& b) {
    const auto time = [](const Cost& c) { return c.forward.value_or(0) + c.backward.value_or(0); };
    return std::pair(time(a.cost), a.cost.flops) > std::pair(time(b.cost), b.cost.flops);
  });
  return sums;
}

std::vector<CostSum> sums_by_part(const Graph& graph) {
  std::vector<CostSum> sums;
  for (const GraphPart& part : parts_of(graph))
    for (size_t i = part.begin; i < part.end; ++i) add(sums, part.name, graph.nodes[i].cost);
  return sums;
}

}  // namespace crisp::inspect
