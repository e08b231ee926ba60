// A graph as a drawing: one column of operations from top to bottom, what they are given beside the results of others
// on their left, and edges that pass an operation by in lanes on their right.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tools/inspect/graph_output.h"
#include "train/page/html.h"

namespace crisp::inspect {
namespace {

// Sizes in pixels.
constexpr int leaves_left = 14, leaves_width = 232, leaf_line = 15;
constexpr int box_left = leaves_left + leaves_width + 30, box_width = 290, box_height = 44;
constexpr int box_right = box_left + box_width, box_middle = box_left + box_width / 2;
constexpr int first_lane = box_right + 20, lane_width = 14;
constexpr int part_head = 30, part_foot = 12, between_parts = 18, between_boxes = 20;
constexpr size_t longest_leaf = 38;  // characters

struct Box {
  int y = 0, height = 0;  // of the row that the box and its leaves take; the box stands in its middle
  size_t order = 0;       // among those that are drawn
  int top() const { return y + (height - box_height) / 2; }
  int bottom() const { return top() + box_height; }
};

struct Layout {
  std::map<size_t, Box> boxes;                   // by node
  std::vector<std::pair<int, int>> parts;        // y and height
  std::vector<std::pair<GraphEdge, int>> lanes;  // of the edges that need one
  int lane_count = 0, width = 0, height = 0;
};

Layout layout_of(const Graph& graph, const std::vector<GraphFold>& folds) {
  Layout l;
  int y = between_parts;
  for (const GraphFold& fold : folds) {
    const int top = y;
    y += part_head;
    for (size_t i = fold.begin(); i < fold.parts[0].end; ++i) {
      const auto leaves = static_cast<int>(leaves_of(graph.nodes[i].operation).size());
      const size_t order = l.boxes.size();
      l.boxes[i] = {y, std::max(box_height, leaves * leaf_line + 10), order};
      y += l.boxes[i].height + between_boxes;
    }
    y += part_foot - between_boxes;
    l.parts.emplace_back(top, y - top);
    y += between_parts;
  }
  l.height = y;

  std::vector<GraphEdge> passing;
  for (const GraphEdge& e : edges_of(graph, folds))
    if (e.repeats || l.boxes[e.to].order > l.boxes[e.from].order + 1) passing.push_back(e);
  const auto ends = [&](const GraphEdge& e) { return std::minmax({l.boxes[e.from].order, l.boxes[e.to].order}); };
  const auto length = [&](const GraphEdge& e) { return ends(e).second - ends(e).first; };
  std::stable_sort(passing.begin(), passing.end(),
                   [&](const GraphEdge& a, const GraphEdge& b) { return length(a) < length(b); });
  std::vector<std::vector<std::pair<size_t, size_t>>> taken;  // by lane: from the first to the last box
  for (const GraphEdge& e : passing) {
    const std::pair<size_t, size_t> span = ends(e);
    const auto free = std::find_if(taken.begin(), taken.end(), [&](const auto& lane) {
      return std::none_of(lane.begin(), lane.end(),
                          [&](const auto& s) { return s.first <= span.second && span.first <= s.second; });
    });
    const auto lane = free - taken.begin();
    if (free == taken.end()) taken.emplace_back();
    taken[static_cast<size_t>(lane)].push_back(span);
    l.lanes.emplace_back(e, static_cast<int>(lane));
  }
  l.lane_count = static_cast<int>(taken.size());
  l.width = first_lane + lane_width * l.lane_count + 4;
  return l;
}

std::string cut(const std::string& text) {
  return text.size() <= longest_leaf ? text : "..." + text.substr(text.size() - longest_leaf + 3);
}

std::string text(int x, double y, const char* more, const std::string& words) {
  return fmt::format("<text x=\"{}\" y=\"{:.0f}\"{}>{}</text>", x, y, more, page::escape(words));
}

std::string leaves_svg(const Box& box, const std::vector<std::string>& leaves) {
  if (leaves.empty()) return "";
  const auto count = static_cast<int>(leaves.size());
  const int height = count * leaf_line + 6, top = box.y + (box.height - height) / 2;
  std::string svg = fmt::format("<rect class=\"g-leaf\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"8\"/>",
                                leaves_left, top, leaves_width, height);
  for (int i = 0; i < count; ++i)
    svg += text(leaves_left + 10, top + leaf_line * (i + 1) - 1, " class=\"g-small\"",
                cut(leaves[static_cast<size_t>(i)]));
  return svg + fmt::format("<path class=\"g-edge\" d=\"M{} {}H{}\" marker-end=\"url(#g-arrow)\"/>",
                           leaves_left + leaves_width, box.top() + box_height / 2, box_left - 1);
}

std::string box_svg(const Graph& graph, size_t i, const Box& box, double longest) {
  const GraphNode& node = graph.nodes[i];
  const Cost& cost = node.cost;
  const double seconds = cost.forward.value_or(0) + cost.backward.value_or(0);
  const std::string numbers = fmt::format("{} FLOPs \u00B7 keeps {} \u00B7 {} + {} ms", si_text(cost.flops),
                                          si_text(static_cast<double>(cost.kept)), ms_text(cost.forward, "\u2013"),
                                          ms_text(cost.backward, "\u2013"));
  std::string svg = fmt::format("<g id=\"node-{}\"><title>{}</title>", i,
                                page::escape(fmt::format("{} {}", i, dotted_name(node.operation))));
  svg += leaves_svg(box, leaves_of(node.operation));
  svg += fmt::format("<rect class=\"g-box\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"6\"/>", box_left,
                     box.top(), box_width, box_height);
  if (longest > 0 && seconds > 0)
    svg += fmt::format("<rect class=\"g-bar\" x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"3\"/>", box_left + 5,
                       box.bottom() - 4, seconds / longest * (box_width - 10));
  svg += text(box_left + 10, box.top() + 18, " class=\"g-name\"", node.operation.name);
  svg += text(box_right - 10, box.top() + 18, " text-anchor=\"end\"", shape_text(node.operation.output));
  svg += text(box_left + 10, box.top() + 34, " class=\"g-small\"", numbers);
  return svg + "</g>\n";
}

std::string edges_svg(const Graph& graph, const std::vector<GraphFold>& folds, const Layout& l) {
  std::string svg;
  for (const GraphEdge& e : edges_of(graph, folds)) {
    const Box &from = l.boxes.at(e.from), &to = l.boxes.at(e.to);
    if (e.repeats || to.order != from.order + 1) continue;
    svg += fmt::format("<path class=\"g-edge\" d=\"M{} {}V{}\" marker-end=\"url(#g-arrow)\"/>\n", box_middle,
                       from.bottom(), to.top() - 1);
  }
  for (const auto& [e, lane] : l.lanes) {
    const int x = first_lane + lane * lane_width;
    svg += fmt::format("<path class=\"{}\" d=\"M{} {}H{}V{}H{}\" marker-end=\"url(#g-arrow)\"/>\n",
                       e.repeats ? "g-edge g-loop" : "g-edge", box_right, l.boxes.at(e.from).bottom() - 13, x,
                       l.boxes.at(e.to).top() + 13, box_right + 1);
  }
  return svg;
}

constexpr const char* colours = R"css(
svg { --page: #fff; --text: #1b1f24; --soft: #57606a; --line: #d8dee4; --panel: #f6f8fa; --accent: #0072b2; }
@media screen and (prefers-color-scheme: dark) { svg { --page: #0f1318; --text: #e6e9ed; --soft: #9ba5b0;
  --line: #323a44; --panel: #181e26; --accent: #56b4e9; } }
svg { background: var(--page); } svg text { fill: var(--text); font-size: 12px; font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
)css";

}  // namespace

const char* graph_drawing_style() {
  return R"css(
.g-part { fill: none; stroke: var(--line); } .g-box { fill: var(--panel); stroke: var(--accent); }
.g-leaf { fill: none; stroke: var(--line); } .g-bar { fill: var(--accent); } .g-arrow { fill: var(--soft); }
.g-edge { fill: none; stroke: var(--soft); stroke-width: 1.3; } .g-loop { stroke-dasharray: 5 3; }
svg .g-name { font-weight: 600; font-size: 13px; } svg .g-small { font-size: 11px; fill: var(--soft); }
svg .g-title { font-size: 12px; font-weight: 600; fill: var(--soft); }
)css";
}

std::string graph_svg(const Graph& graph, const std::vector<GraphFold>& folds, Drawing drawing) {
  const Layout l = layout_of(graph, folds);
  double longest = 0;
  for (const auto& [i, box] : l.boxes) {
    const Cost& cost = graph.nodes[i].cost;
    longest = std::max(longest, cost.forward.value_or(0) + cost.backward.value_or(0));
  }
  const bool alone = drawing == Drawing::standalone;
  std::string svg = fmt::format(
      "<svg {}id=\"drawing\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"The graph of "
      "the pass, operation by operation\">\n",
      alone ? "xmlns=\"http://www.w3.org/2000/svg\" " : "", l.width, l.height, l.width, l.height);
  if (alone)
    svg += fmt::format("<style>{}{}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"var(--page)\"/>\n", colours,
                       graph_drawing_style());
  svg +=
      "<defs><marker id=\"g-arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" "
      "orient=\"auto\"><path class=\"g-arrow\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n";
  for (size_t f = 0; f < folds.size(); ++f) {
    const auto [y, height] = l.parts[f];
    std::string title = folds[f].name();
    if (folds[f].parts.size() > 1)
      title += fmt::format("  \u00D7 {}, numbers are those of the first", folds[f].parts.size());
    svg += fmt::format("<rect class=\"g-part\" x=\"4\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"10\"/>{}\n", y,
                       box_right + 6, height, text(leaves_left, y + 19, " class=\"g-title\"", title));
  }
  svg += edges_svg(graph, folds, l);
  for (const auto& [i, box] : l.boxes) svg += box_svg(graph, i, box, longest);
  return svg + "</svg>\n";
}

}  // namespace crisp::inspect
