// A graph for people, programs, and other programs' pictures.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/inspect/graph_fold.h"

namespace crisp::inspect {

/// Three digits and a prefix: "0", "999", "1.23k", "28.3M", "1.50G".
std::string si_text(double number);
/// Milliseconds in at most five characters where they are less than 100,000; `none` where it has not run.
std::string ms_text(const std::optional<double>& seconds, const char* none = "-");

/// What a pass was made of, in words and for programs.
struct GraphTitle {
  std::string objective, text, model, attention, precision;
  std::vector<std::string> tokens;
  int threads = 0;

  /// In a terminal: two lines.
  std::string str() const;
};

/// {"command": .., "model": .., "text": .., ..}, and where an input is from: {"node": 3} or {"parameter": NAME} or
/// {"constant": NAME}.
nlohmann::ordered_json title_json(const char* command, const GraphTitle& title);
nlohmann::ordered_json source_json(const OperationInput& input);

/// A row for each operation or fold, then the sums by operation and by part. `width` as TextTable has it; where there
/// is room, what operations are given has a column, too.
std::string graph_tables(const Graph& graph, const std::vector<GraphFold>& folds, int width);
nlohmann::ordered_json graph_json(const Graph& graph, const GraphTitle& title);
/// A self-contained page: every operation, folded layers that open, sums and a drawing.
std::string graph_page(const Graph& graph, const std::vector<GraphFold>& folds, const GraphTitle& title);
/// For Graphviz: a cluster for each part, parameters as leaves.
std::string graph_dot(const Graph& graph, const std::vector<GraphFold>& folds);

/// A drawing from top to bottom in the order of execution: standalone, or for a page with the common style sheet.
enum class Drawing : uint8_t { standalone, within_page };
std::string graph_svg(const Graph& graph, const std::vector<GraphFold>& folds, Drawing drawing);
/// CSS of a drawing, for a page that has the common style sheet.
const char* graph_drawing_style();

/// An edge of a drawing in which only the first part of each fold is drawn: the nodes from and to, as drawn.
struct GraphEdge {
  size_t from = 0, to = 0;
  bool repeats = false;  // from a part of a fold to the next one: drawn back from the part's end to its beginning
};
/// Each once, by `to`.
std::vector<GraphEdge> edges_of(const Graph& graph, const std::vector<GraphFold>& folds);
/// What a node is given beside the results of others, one text each: "q_lin.weight 768x768", "constant 7x1".
std::vector<std::string> leaves_of(const Operation& operation);

}  // namespace crisp::inspect
