// A graph as tables in a terminal and as JSON.
#include <fmt/format.h>

#include <algorithm>

#include "tools/inspect/graph_output.h"
#include "tools/text_table.h"

namespace crisp::inspect {
namespace {

using nlohmann::ordered_json;
using Kind = TextTable::Kind;

constexpr int room_for_inputs = 100;  // columns

std::vector<std::string> cost_cells(const Cost& cost) {
  return {si_text(cost.flops), si_text(static_cast<double>(cost.kept)), ms_text(cost.forward), ms_text(cost.backward)};
}

std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Of what was computed, not of parameters; equal ones once.
std::string input_shapes(const Operation& operation) {
  std::vector<std::string> shapes;
  for (const OperationInput& input : operation.inputs) {
    std::string shape = shape_text(input.shape);
    if (input.made_by && std::find(shapes.begin(), shapes.end(), shape) == shapes.end())
      shapes.push_back(std::move(shape));
  }
  return shapes.empty() ? "-" : fmt::format("{}", fmt::join(shapes, ", "));
}

std::string nodes_table(const Graph& graph, const std::vector<GraphFold>& folds, int width) {
  const bool with_inputs = width == 0 || width >= room_for_inputs;
  std::vector<TextTable::Column> columns{{"#"}, {"operation", Kind::flexible}, {"module", Kind::flexible}};
  if (with_inputs) columns.push_back({"input", Kind::flexible});
  for (const char* title : {"output", "FLOPs", "kept", "fwd", "bwd"}) columns.push_back({title});
  TextTable table(std::move(columns));
  const auto add = [&](const std::string& number, const std::string& name, const std::string& module,
                       const std::string& input, const std::string& output, const Cost& cost) {
    std::vector<std::string> row{number, name, module};
    if (with_inputs) row.push_back(input);
    row.push_back(output);
    table.row(row + cost_cells(cost));
  };
  for (const GraphFold& fold : folds) {
    if (fold.parts.size() > 1) {
      add(fmt::format("{}", fold.begin()), fold.name(), fmt::format("x {}", fold.parts.size()), "",
          shape_text(graph.nodes[fold.end() - 1].operation.output), cost_of(graph, fold.begin(), fold.end()));
      continue;
    }
    const GraphPart& part = fold.parts[0];
    const bool layer = part.end - part.begin > 1;  // else its name and that of its only operation share a row
    if (layer) table.row({"", part.name});
    for (size_t i = part.begin; i < part.end; ++i) {
      const Operation& o = graph.nodes[i].operation;
      add(fmt::format("{}", i), o.name, layer ? place_in(part, o) : part.name, input_shapes(o), shape_text(o.output),
          graph.nodes[i].cost);
    }
  }
  add("", "all", "", "", "", graph.total());
  return table.text(width);
}

std::string sums_table(const char* title, const std::vector<CostSum>& sums, const Cost& total, int width) {
  TextTable table({{title, Kind::flexible}, {"count"}, {"FLOPs"}, {"kept"}, {"fwd"}, {"bwd"}, {"of the time"}});
  const double all = total.forward.value_or(0) + total.backward.value_or(0);
  for (const CostSum& sum : sums) {
    const double time = sum.cost.forward.value_or(0) + sum.cost.backward.value_or(0);
    const bool ran = sum.cost.forward || sum.cost.backward;
    table.row(std::vector<std::string>{sum.name, fmt::format("{}", sum.count)} + cost_cells(sum.cost) +
              std::vector<std::string>{ran && all > 0 ? fmt::format("{:.1f} %", 100 * time / all) : "-"});
  }
  return table.text(width);
}

ordered_json ms_json(const std::optional<double>& seconds) {
  return seconds ? ordered_json(*seconds * 1e3) : ordered_json(nullptr);
}

void put(ordered_json& to, const Cost& cost) {
  to["flops"] = cost.flops;
  to["kept_bytes"] = cost.kept;
  to["forward_ms"] = ms_json(cost.forward);
  to["backward_ms"] = ms_json(cost.backward);
}

std::vector<int64_t> dims(const Shape& shape) { return {shape.dims().begin(), shape.dims().end()}; }

ordered_json inputs_json(const Operation& operation) {
  ordered_json inputs = ordered_json::array();
  for (const OperationInput& input : operation.inputs)
    inputs.emplace_back(source_json(input))["shape"] = dims(input.shape);
  return inputs;
}

ordered_json sums_json(const char* what, const std::vector<CostSum>& sums) {
  ordered_json rows = ordered_json::array();
  for (const CostSum& sum : sums) {
    ordered_json& row = rows.emplace_back();
    row[what] = sum.name;
    row["count"] = sum.count;
    put(row, sum.cost);
  }
  return rows;
}

}  // namespace

std::string si_text(double number) {
  if (number < 999.5) return fmt::format("{:.0f}", number);
  const char* prefixes = "kMGTPE";
  size_t prefix = 0;
  for (number /= 1000; number >= 999.5 && prefix < 5; number /= 1000) ++prefix;
  const int decimals = number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}{}", number, decimals, prefixes[prefix]);
}

std::string ms_text(const std::optional<double>& seconds, const char* none) {
  if (!seconds) return none;
  const double ms = *seconds * 1e3;
  const int decimals = ms < 9.9995 ? 3 : ms < 99.995 ? 2 : ms < 999.95 ? 1 : 0;
  return fmt::format("{:.{}f}", ms, decimals);
}

std::string graph_tables(const Graph& graph, const std::vector<GraphFold>& folds, int width) {
  const Cost total = graph.total();
  return nodes_table(graph, folds, width) + "\n" + sums_table("operation", sums_by_operation(graph), total, width) +
         "\n" + sums_table("layer", sums_by_part(graph), total, width);
}

std::string GraphTitle::str() const {
  return fmt::format("{}\n{} token{}, attention {}, {}, {} thread{}\n", objective, tokens.size(),
                     tokens.size() == 1 ? "" : "s", attention, precision, threads, threads == 1 ? "" : "s");
}

ordered_json title_json(const char* command, const GraphTitle& title) {
  return {{"command", command},           {"model", title.model},         {"text", title.text},
          {"tokens", title.tokens},       {"objective", title.objective}, {"attention", title.attention},
          {"precision", title.precision}, {"threads", title.threads}};
}

ordered_json source_json(const OperationInput& input) {
  ordered_json source;
  if (input.made_by)
    source["node"] = *input.made_by;
  else
    source[input.trained ? "parameter" : "constant"] = input.name;
  return source;
}

ordered_json graph_json(const Graph& graph, const GraphTitle& title) {
  ordered_json all = title_json("graph", title);
  all["repeats"] = graph.repeats;
  put(all, graph.total());
  ordered_json& nodes = all["nodes"] = ordered_json::array();
  for (const GraphPart& part : parts_of(graph)) {
    for (size_t i = part.begin; i < part.end; ++i) {
      const Operation& o = graph.nodes[i].operation;
      ordered_json& node = nodes.emplace_back();
      node["node"] = i;
      node["operation"] = o.name;
      node["layer"] = part.name;
      node["scope"] = o.scope;
      node["inputs"] = inputs_json(o);
      node["output"] = dims(o.output);
      put(node, graph.nodes[i].cost);
    }
  }
  all["by_operation"] = sums_json("operation", sums_by_operation(graph));
  all["by_layer"] = sums_json("layer", sums_by_part(graph));
  return all;
}

}  // namespace crisp::inspect
