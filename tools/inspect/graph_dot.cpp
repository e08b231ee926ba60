// A graph in Graphviz's language.
#include <fmt/format.h>

#include "tools/inspect/graph_output.h"

namespace crisp::inspect {
namespace {

// A quoted string of the language; lines are flush in the middle.
std::string quoted(const std::vector<std::string>& lines) {
  std::string text = "\"";
  for (const std::string& line : lines) {
    if (text.size() > 1) text += "\\n";
    for (const char c : line) {
      if (c == '"' || c == '\\') text += '\\';
      text += c;
    }
  }
  return text + "\"";
}

std::string node_text(const Graph& graph, size_t i) {
  const GraphNode& node = graph.nodes[i];
  const Cost& cost = node.cost;
  return quoted({node.operation.name + "  " + shape_text(node.operation.output),
                 fmt::format("{} FLOPs, keeps {}", si_text(cost.flops), si_text(static_cast<double>(cost.kept))),
                 fmt::format("{} ms, back {} ms", ms_text(cost.forward), ms_text(cost.backward))});
}

}  // namespace

std::string graph_dot(const Graph& graph, const std::vector<GraphFold>& folds) {
  std::string dot =
      "digraph crisp {\n  rankdir=TB; fontname=\"sans-serif\"; bgcolor=\"white\";\n"
      "  node [shape=box, style=\"rounded,filled\", fillcolor=\"#eaf3f9\", color=\"#0072b2\", fontname=\"sans-serif\", "
      "fontsize=11];\n  edge [color=\"#57606a\"];\n";
  for (size_t f = 0; f < folds.size(); ++f) {
    const GraphFold& fold = folds[f];
    std::vector<std::string> title{fold.name()};
    if (fold.parts.size() > 1) title.push_back(fmt::format("x {}", fold.parts.size()));
    dot += fmt::format("  subgraph cluster_{} {{\n    label={}; style=\"rounded\"; color=\"#9ba5b0\";\n", f,
                       quoted({fmt::format("{}", fmt::join(title, "  "))}));
    for (size_t i = fold.begin(); i < fold.parts[0].end; ++i) {
      dot += fmt::format("    n{} [label={}];\n", i, node_text(graph, i));
      const std::vector<std::string> leaves = leaves_of(graph.nodes[i].operation);
      for (size_t leaf = 0; leaf < leaves.size(); ++leaf)
        dot += fmt::format(
            "    p{0}_{1} [shape=oval, style=filled, fillcolor=\"#f6f8fa\", color=\"#9ba5b0\", fontsize=9, "
            "label={2}];\n"
            "    p{0}_{1} -> n{0};\n",
            i, leaf, quoted({leaves[leaf]}));
    }
    dot += "  }\n";
  }
  for (const GraphEdge& edge : edges_of(graph, folds))
    dot += fmt::format("  n{} -> n{}{};\n", edge.from, edge.to,
                       edge.repeats ? " [style=dashed, constraint=false, label=\"next layer\", fontsize=9]" : "");
  return dot + "}\n";
}

}  // namespace crisp::inspect
