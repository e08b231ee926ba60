// A pass step by step in a terminal, and as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "data/input/parse_text.h"
#include "data/input/text.h"
#include "tools/inspect/step_output.h"
#include "tools/text_table.h"

namespace crisp::inspect {
namespace {

using nlohmann::ordered_json;

constexpr int margin = 10;      // columns, where what is said of a node begins
constexpr int cell_width = 11;  // of a number

// What must not be torn, in lines of at most `width` columns with `between` in them; those after the first begin at the
// margin.
std::string wrapped(const std::string& head, const std::vector<std::string>& units, std::string_view between,
                    int width) {
  std::string text, line = fmt::format("{:<{}}", head, margin);
  bool empty = true;  // of units
  for (const std::string& unit : units) {
    if (!empty && display_width(line) + display_width(between) + display_width(unit) > width) {
      text += line + "\n";
      line.assign(static_cast<size_t>(margin), ' ');
      empty = true;
    }
    if (!empty) line += between;
    line += unit;
    empty = false;
  }
  return text + line + "\n";
}

std::string wrapped(const std::string& head, const std::string& words, int width) {
  std::vector<std::string> units;
  for (size_t at = 0; at < words.size();) {
    const size_t end = std::min(words.find(' ', at), words.size());
    units.push_back(words.substr(at, end - at));
    at = end + 1;
  }
  return wrapped(head, units, " ", width);
}

// The shape, or a name in front of it, and what holds for all elements.
std::string line_of(const std::string& head, const std::string& name, const Excerpt& e, int width) {
  std::vector<std::string> units{"mean " + number_text(e.mean), "min " + number_text(e.least),
                                 "max " + number_text(e.most), "norm " + number_text(e.norm)};
  units.insert(units.begin(), name.empty() ? shape_text(e.shape) : name + " " + shape_text(e.shape));
  return wrapped(head, units, "  ", width);
}

// The first rows and columns of what is there.
std::string numbers(const Excerpt& e, int64_t limit, int width) {
  const auto fitting = static_cast<size_t>(std::max(1, (width - margin - 4) / cell_width));
  std::string text;
  for (size_t r = 0; r < std::min(e.corner.size(), static_cast<size_t>(limit)); ++r) {
    const std::vector<double>& row = e.corner[r];
    const size_t shown = std::min(row.size(), fitting);
    text.append(static_cast<size_t>(margin), ' ');
    for (size_t c = 0; c < shown; ++c) text += fmt::format("{:>{}}", number_text(row[c]), cell_width);
    text += static_cast<int64_t>(shown) < e.columns() ? " ...\n" : "\n";
  }
  if (limit > 0 && static_cast<int64_t>(std::min(e.corner.size(), static_cast<size_t>(limit))) < e.rows())
    text += fmt::format("{:>{}}\n", "...", margin + cell_width);
  return text;
}

std::string input_name(const OperationInput& input) {
  if (input.made_by) return fmt::format("#{}", *input.made_by);
  if (!input.name.empty()) return printable(last_words(input.name));
  return input.trained ? "leaf" : "constant";
}

std::string heading(const StepNode& node, size_t i, const char* direction, int width) {
  return wrapped(fmt::format("#{}", i), {direction, node.operation.name, "in " + scope_text(node.operation)}, "  ",
                 width);
}

int width_of(const StepDetail& detail) { return detail.width > 0 ? detail.width : 80; }

ordered_json excerpt_json(const Excerpt& e) {
  return {{"shape", std::vector<int64_t>(e.shape.dims().begin(), e.shape.dims().end())},
          {"mean", e.mean},
          {"min", e.least},
          {"max", e.most},
          {"norm", e.norm},
          {"values", e.corner}};
}

ordered_json excerpt_json(const std::optional<Excerpt>& e) { return e ? excerpt_json(*e) : ordered_json(nullptr); }

}  // namespace

std::string number_text(double value) {
  if (std::isnan(value)) return "nan";
  return fmt::format("{:.3g}", value == 0 ? 0 : value);  // no "-0"
}

std::string forward_text(const std::vector<StepNode>& nodes, size_t i, const StepDetail& detail) {
  const StepNode& node = nodes[i];
  const int width = width_of(detail);
  std::string text = heading(node, i, "forward", width) + wrapped("", formula_of(node.operation.name).forward, width);
  std::vector<std::string> given;
  for (size_t k = 0; k < node.inputs.size(); ++k) {
    const OperationInput& input = node.operation.inputs[k];
    const Excerpt& value = node.inputs[k].value;
    if (detail.whole)
      text += line_of("  given", input_name(input), value, width) + numbers(value, detail.numbers, width);
    else
      given.push_back(input_name(input) + " " + shape_text(input.shape) + (k + 1 < node.inputs.size() ? "," : ""));
  }
  if (!given.empty()) text += wrapped("  given", given, " ", width);
  return text + line_of("  value", "", node.value, width) + numbers(node.value, detail.numbers, width);
}

std::string backward_text(const std::vector<StepNode>& nodes, size_t i, const StepDetail& detail) {
  const StepNode& node = nodes[i];
  const int width = width_of(detail);
  std::string text = heading(node, i, "backward", width);
  if (!node.gradient) return text + wrapped("  dy", "- (has not run: the objective does not depend on it)", width);
  text += wrapped("", formula_of(node.operation.name).backward, width);
  text += line_of("  dy", "", *node.gradient, width) + numbers(*node.gradient, detail.numbers, width);
  for (size_t k = 0; k < node.inputs.size(); ++k) {
    const StepInput& input = node.inputs[k];
    if (!input.added) continue;
    const std::string name = input_name(node.operation.inputs[k]);
    text += line_of("  adds", input.rows.empty() ? "to " + name : "to rows of " + name, *input.added, width);
    if (detail.whole) text += numbers(*input.added, detail.numbers, width);
  }
  return text;
}

std::string node_range(const std::vector<StepNode>& nodes) { return fmt::format("0 to {}", nodes.size() - 1); }

void walk(const std::vector<StepNode>& nodes, const StepDetail& detail,
          const std::function<std::optional<std::string>()>& read_line,
          const std::function<void(const std::string&)>& write) {
  const int64_t count = std::ssize(nodes), last = 2 * count - 1;
  for (int64_t at = 0; at <= last;) {
    const bool back = at >= count;
    const auto node = static_cast<size_t>(back ? last - at : at);
    write(back ? backward_text(nodes, node, detail) : forward_text(nodes, node, detail));
    write(fmt::format("[{} of {}] Enter: on, b: back, a number: that node, q: end > ", at + 1, last + 1));
    const std::optional<std::string> line = read_line();
    if (!line) write("\n");
    if (!line || *line == "q") return;
    const std::optional<int64_t> number = parse_number<int64_t>(*line);
    if (number && *number >= 0 && *number < count)
      at = back ? last - *number : *number;
    else if (number)
      write(fmt::format("the pass has {}\n", node_range(nodes)));
    else if (*line == "b" || line->ends_with("[D"))  // what a cursor key sends
      at = std::max<int64_t>(0, at - 1);
    else
      ++at;
  }
}

ordered_json step_json(const std::vector<StepNode>& nodes, const std::vector<size_t>& list, const GraphTitle& title) {
  ordered_json all = title_json("step", title);
  ordered_json& shown = all["nodes"] = ordered_json::array();
  for (const size_t i : list) {
    const StepNode& node = nodes[i];
    const Operation& o = node.operation;
    ordered_json& one = shown.emplace_back();
    one["node"] = i;
    one["operation"] = o.name;
    one["scope"] = o.scope;
    one["formula"] = formula_of(o.name).forward;
    one["derivative"] = formula_of(o.name).backward;
    one["value"] = excerpt_json(node.value);
    one["gradient"] = excerpt_json(node.gradient);
    ordered_json& inputs = one["inputs"] = ordered_json::array();
    for (size_t k = 0; k < node.inputs.size(); ++k) {
      ordered_json& input = inputs.emplace_back(source_json(o.inputs[k]));
      input["value"] = excerpt_json(node.inputs[k].value);
      input["added"] = excerpt_json(node.inputs[k].added);
      if (!node.inputs[k].rows.empty()) input["rows"] = node.inputs[k].rows;
    }
  }
  return all;
}

}  // namespace crisp::inspect
