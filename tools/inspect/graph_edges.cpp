// What leads where in a drawing of a graph.
#include <algorithm>
#include <set>
#include <tuple>

#include "tools/inspect/graph_output.h"

namespace crisp::inspect {

std::vector<GraphEdge> edges_of(const Graph& graph, const std::vector<GraphFold>& folds) {
  std::vector<size_t> drawn(graph.nodes.size());  // in place of each node: that of the first part
  for (const GraphFold& fold : folds)
    for (const GraphPart& part : fold.parts)
      for (size_t i = part.begin; i < part.end; ++i) drawn[i] = fold.begin() + (i - part.begin);
  std::set<std::tuple<size_t, size_t, bool>> edges;
  for (size_t to = 0; to < graph.nodes.size(); ++to)
    for (const OperationInput& input : graph.nodes[to].operation.inputs)
      if (input.made_by) edges.insert({drawn[to], drawn[*input.made_by], drawn[*input.made_by] >= drawn[to]});
  std::vector<GraphEdge> list;
  for (const auto& [to, from, repeats] : edges) list.push_back({from, to, repeats});
  return list;
}

std::vector<std::string> leaves_of(const Operation& operation) {
  std::vector<std::string> leaves;
  for (const OperationInput& input : operation.inputs) {
    if (input.made_by) continue;
    const std::string name = input.name.empty() ? (input.trained ? "leaf" : "constant") : last_words(input.name);
    leaves.push_back(name + " " + shape_text(input.shape));
  }
  return leaves;
}

}  // namespace crisp::inspect
