// crisp-inspect step: through the tape node by node, forward and back.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "data/input/parse_text.h"
#include "engine/fail.h"
#include "tools/inspect/commands.h"
#include "tools/inspect/output.h"
#include "tools/inspect/pass_options.h"
#include "tools/inspect/step_output.h"
#include "tools/nearest.h"
#include "tools/text_table.h"
#include "train/durable/console.h"

namespace crisp::inspect {
namespace {

struct StepCommand {
  SubjectOptions subject;
  DType precision = DType::f32;
  std::string node;  // a number or a part of a name
  std::optional<int64_t> from, to;
  int64_t numbers = 3;
  bool json = false;
  std::string html;
};

constexpr int64_t page_numbers = 8;  // rows and columns

// The nodes that --node names: one by its number, or all whose name holds the text.
std::vector<size_t> named(const std::vector<StepNode>& nodes, const std::string& name) {
  if (const std::optional<int64_t> number = parse_number<int64_t>(name)) {
    if (*number < 0 || *number >= std::ssize(nodes))
      fail<UsageError>("--node {}: the pass has {}", name, node_range(nodes));
    return {static_cast<size_t>(*number)};
  }
  std::vector<size_t> found;
  std::vector<std::string> names;
  for (size_t i = 0; i < nodes.size(); ++i) {
    names.push_back(dotted_name(nodes[i].operation));
    if (names.back().find(name) != std::string::npos) found.push_back(i);
  }
  if (!found.empty()) return found;
  std::vector<std::string> candidates;  // parts of names, too
  for (const std::string& full : names) {
    for (size_t dot = full.find('.'); dot != std::string::npos; dot = full.find('.', dot + 1))
      candidates.push_back(full.substr(0, dot));
    candidates.push_back(full.substr(full.rfind('.') + 1));
    candidates.push_back(full);
  }
  fail<UsageError>("--node {}: no operation's name holds it{}", name, did_you_mean(name, candidates));
}

// --from and --to, or all.
std::vector<size_t> range(const std::vector<StepNode>& nodes, const StepCommand& o) {
  const int64_t last = std::ssize(nodes) - 1, from = o.from.value_or(0), to = o.to.value_or(last);
  if (from > last || to > last) fail<UsageError>("--from {} --to {}: the pass has {}", from, to, node_range(nodes));
  if (from > to) fail<UsageError>("--from {} is behind --to {}", from, to);
  std::vector<size_t> list;
  for (int64_t i = from; i <= to; ++i) list.push_back(static_cast<size_t>(i));
  return list;
}

// A line of standard input without its end; none at its end.
std::optional<std::string> read_line() {
  std::string line;
  for (int c = std::getchar(); c != '\n'; c = std::getchar()) {
    if (c == EOF) return line.empty() ? std::nullopt : std::optional(line);
    line += static_cast<char>(c);
  }
  return line;
}

void print(const std::vector<StepNode>& nodes, const std::vector<size_t>& list, const StepDetail& detail) {
  for (const size_t i : list) fmt::print("{}\n", forward_text(nodes, i, detail));
  for (size_t k = list.size(); k-- > 0;) fmt::print("{}\n", backward_text(nodes, list[k], detail));
}

int show_step(const StepCommand& o) {
  if (!o.node.empty() && (o.from || o.to)) fail<UsageError>("give either --node, or --from and --to");
  const Subject subject(o.subject, o.precision);
  const std::vector<StepNode> nodes = record_step(
      subject.context(), [&](Tape& tape) { return subject.objective(tape); }, std::max(page_numbers, o.numbers));
  const GraphTitle title = title_of(o.subject, subject, o.precision);
  const std::vector<size_t> list = o.node.empty() ? range(nodes, o) : named(nodes, o.node);
  const StepDetail detail{.numbers = o.numbers, .whole = !o.node.empty(), .width = output_width()};
  const bool all = o.node.empty() && !o.from && !o.to;
  if (o.json) {
    print_json(step_json(nodes, list, title));
  } else {
    fmt::print("{}\n", title.str());
    if (all && o.html.empty() && ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1)
      walk(nodes, detail, read_line, [](const std::string& text) {
        fmt::print("{}", text);
        std::fflush(stdout);
      });
    else if (!all || o.html.empty())
      print(nodes, list, detail);
  }
  if (!o.html.empty()) write_output(o.html, step_page(nodes, title));
  return subject.exit_code();
}

}  // namespace

Command add_step(CLI::App& program) {
  CLI::App* app = add_command(program, "step", "Through one forward and backward pass, operation by operation");
  const auto o = std::make_shared<StepCommand>();
  add_subject_options(*app, o->subject);
  add_objective_options(*app, o->subject);
  add_number_type(*app, o->precision);
  add_text(*app, "node", o->node, "this operation alone, with all that it is given: its number, or a part of its name",
           "N|NAME");
  const auto number = [&](const char* name, std::optional<int64_t>& variable, const char* description) {
    const auto parse = [&variable](const std::string& text) -> std::string {
      variable = parse_number<int64_t>(text);
      return variable && *variable >= 0 ? "" : "must be a whole number from 0 on, not '" + text + "'";
    };
    add_parsed(*app, name, "N", "", parse, description);
  };
  number("from", o->from, "the first operation to show");
  number("to", o->to, "the last one");
  add_integer(*app, "values", o->numbers, 0, 1000, "rows of numbers to show of each tensor");
  add_flag(*app, "json", o->json, "JSON instead of text");
  add_text(*app, "html", o->html, "write a page that the arrow keys step through, instead of text for all operations",
           "FILE");
  return {app, [o] { return show_step(*o); }};
}

}  // namespace crisp::inspect
