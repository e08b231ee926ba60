// A pass step by step, for people and programs.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/inspect/graph_output.h"
#include "tools/inspect/step_record.h"

namespace crisp::inspect {

/// A number in a few characters: "0", "-0.0123", "1.23", "1.2e-05".
std::string number_text(double value);

/// What a terminal shows of a node, in lines of at most `width` columns (0: 80): its operation, what it was given, and
/// its value. `numbers`: of tensors; 0: none; `whole`: of what it was given, too.
struct StepDetail {
  int64_t numbers = 3;
  bool whole = false;
  int width = 0;
};
std::string forward_text(const std::vector<StepNode>& nodes, size_t i, const StepDetail& detail);
/// The same of its gradient, and what it adds to those of its inputs.
std::string backward_text(const std::vector<StepNode>& nodes, size_t i, const StepDetail& detail);

/// "0 to 44".
std::string node_range(const std::vector<StepNode>& nodes);
/// Shows a step, reads a line, and so on, forward and back: an empty line goes on, "b" or a cursor key to the left a
/// step back, a number to that node, "q" or the end of lines ends it. The terminal keeps its settings: there is nothing
/// to restore, however it ends.
void walk(const std::vector<StepNode>& nodes, const StepDetail& detail,
          const std::function<std::optional<std::string>()>& read_line,
          const std::function<void(const std::string&)>& write);

/// Of the nodes in `list`.
nlohmann::ordered_json step_json(const std::vector<StepNode>& nodes, const std::vector<size_t>& list,
                                 const GraphTitle& title);
/// A self-contained page that the arrow keys step through. Below 2 MB for passes of some hundred operations: where
/// there are many, it shows fewer numbers of each tensor.
std::string step_page(const std::vector<StepNode>& nodes, const GraphTitle& title);

}  // namespace crisp::inspect
