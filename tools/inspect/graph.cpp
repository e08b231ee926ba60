// crisp-inspect graph: the tape of one forward and backward pass.
#include <fmt/format.h>

#include "tools/inspect/commands.h"
#include "tools/inspect/graph_output.h"
#include "tools/inspect/output.h"
#include "tools/inspect/pass_options.h"
#include "tools/text_table.h"

namespace crisp::inspect {
namespace {

struct GraphCommand {
  SubjectOptions subject;
  DType precision = DType::f32;
  int64_t repeats = 5;
  bool forward_only = false, all = false, json = false;
  std::string html, dot, svg;
};

int show_graph(const GraphCommand& o) {
  const Subject subject(o.subject, o.precision);
  const Graph graph = record_graph(subject.context(), [&](Tape& tape) { return subject.objective(tape); },
                                   {.repeats = o.repeats, .backward = !o.forward_only});
  const std::vector<GraphFold> folds = folds_of(graph, !o.all);
  const GraphTitle title = title_of(o.subject, subject, o.precision);
  if (o.json) {
    print_json(graph_json(graph, title));
  } else {
    fmt::print("{}\n{}\n", title.str(), graph_tables(graph, folds, output_width()));
    fmt::print("fwd, bwd: milliseconds, medians of {} passes; kept: bytes for the\nbackward pass. -: has not run.\n",
               graph.repeats);
  }
  if (!o.html.empty()) write_output(o.html, graph_page(graph, folds, title));
  if (!o.dot.empty()) write_output(o.dot, graph_dot(graph, folds));
  if (!o.svg.empty()) write_output(o.svg, graph_svg(graph, folds, Drawing::standalone));
  return subject.exit_code();
}

}  // namespace

Command add_graph(CLI::App& program) {
  CLI::App* app = add_command(program, "graph", "The tape of one forward and backward pass, and what it costs");
  const auto o = std::make_shared<GraphCommand>();
  add_subject_options(*app, o->subject);
  add_objective_options(*app, o->subject);
  add_number_type(*app, o->precision);
  add_integer(*app, "repeat", o->repeats, 1, 1000, "passes to time; the median counts");
  add_flag(*app, "forward-only", o->forward_only, "run no backward pass");
  add_flag(*app, "all", o->all, "every layer by itself, also where several are equal");
  add_flag(*app, "json", o->json, "JSON instead of tables");
  add_text(*app, "html", o->html, "write a page with tables that open and a drawing", "FILE");
  add_text(*app, "dot", o->dot, "write the graph for Graphviz", "FILE");
  add_text(*app, "svg", o->svg, "write a drawing", "FILE");
  return {app, [o] { return show_graph(*o); }};
}

}  // namespace crisp::inspect
