// A graph as a page: a table whose folded layers open, sums, and the drawing.
#include <fmt/format.h>

#include <algorithm>

#include "tools/inspect/graph_output.h"
#include "train/page/html.h"

namespace crisp::inspect {
namespace {

using page::escape;

constexpr const char* dash = "\u2013";

constexpr const char* style = R"css(
.operations th:first-child { min-width: 12rem; max-width: none; } .place { color: var(--soft); font-weight: 400; margin-left: .4rem; }
.no { display: inline-block; min-width: 1.6rem; color: var(--soft); font-weight: 400; }
.bar { background: linear-gradient(to right, color-mix(in srgb, var(--accent) 30%, transparent) var(--w), transparent var(--w)) no-repeat 0 0 / 100% 1.9em; }
span.bar { display: inline-block; min-width: 6.5rem; padding: 0 .3rem; }
tr.part > *, tr.fold-row > *, tr.fold-row > th:first-child { background: var(--panel); font-weight: 600; } .part th { white-space: normal; }
.inner tr.part > * { background: var(--page); color: var(--soft); } .inner th:first-child { padding-left: 1.2rem; }
.toggle { display: none; font: inherit; color: var(--accent); background: none; border: 1px solid var(--line); border-radius: 4px;
  width: 1.6rem; height: 1.6rem; line-height: 1; margin-right: .3rem; cursor: pointer; }
.toggle::before { content: "+"; } .toggle[aria-expanded="true"]::before { content: "\2212"; }
.total > * { border-top: 2px solid var(--line); font-weight: 600; }
td.text { white-space: nowrap; }
@media (max-width: 40rem) { .given { display: none; } .operations th:first-child { min-width: 8.5rem; max-width: 10rem; }
  .place { display: block; margin: 0 0 0 1.9rem; overflow-wrap: anywhere; } }
@media screen { .js .toggle { display: inline-block; } .js .inner:not(.open) { display: none; } }
@media print { .operations { font-size: 7.5pt; } .operations th:first-child { min-width: 0; } th, td { padding: .1rem .25rem; }
  #picture { break-before: page; } #picture svg { max-width: 100%; width: auto; height: auto; max-height: 225mm; } }
)css";

// Without it every operation is in sight.
constexpr const char* script = R"js(
document.documentElement.classList.add('js');
for (const button of document.querySelectorAll('.toggle'))
  button.addEventListener('click', () => {
    const fold = document.getElementById(button.getAttribute('aria-controls'));
    button.setAttribute('aria-expanded', fold.classList.toggle('open'));
  });
// A link may lead into what is folded away.
function reveal(hash) {
  const row = document.getElementById(hash.slice(1)), fold = row && row.closest('.inner:not(.open)');
  if (!fold) return;
  document.querySelector(`[aria-controls="${fold.id}"]`).click();
  row.scrollIntoView({block: 'center'});
}
document.addEventListener('click', e => {
  const link = e.target.closest('a');
  if (link) reveal(link.getAttribute('href'));
});
addEventListener('hashchange', () => reveal(location.hash));
reveal(location.hash);
)js";

// What the longest bars stand for.
struct Scale {
  double seconds = 0, kept = 0;
};

Scale scale_of(const Graph& graph) {
  Scale scale;
  for (const GraphNode& node : graph.nodes) {
    const Cost& c = node.cost;
    scale.seconds = std::max({scale.seconds, c.forward.value_or(0), c.backward.value_or(0)});
    scale.kept = std::max(scale.kept, static_cast<double>(c.kept));
  }
  return scale;
}

// An operation's name, which may break behind a "_".
std::string breakable(const std::string& name) {
  std::string html;
  for (const char c : name) html += c == '_' ? "_<wbr/>" : escape(std::string_view(&c, 1));
  return html;
}

std::string bar_cell(const std::string& text, double value, double longest) {
  if (longest <= 0 || value <= 0) return "<td>" + text + "</td>";
  return fmt::format("<td class=\"bar\" style=\"--w:{:.1f}%\">{}</td>", 100 * value / longest, text);
}

std::string given_cell(const std::string& html) { return "<td class=\"text given\">" + html + "</td>"; }

std::string cost_cells(const Cost& cost, const Scale& scale) {
  return "<td>" + si_text(cost.flops) + "</td>" +
         bar_cell(si_text(static_cast<double>(cost.kept)), static_cast<double>(cost.kept), scale.kept) +
         bar_cell(ms_text(cost.forward, dash), cost.forward.value_or(0), scale.seconds) +
         bar_cell(ms_text(cost.backward, dash), cost.backward.value_or(0), scale.seconds);
}

std::string given(const Operation& operation) {
  std::string html;
  for (const OperationInput& input : operation.inputs)
    if (input.made_by)
      html += fmt::format("{}<a href=\"#row-{}\">{}</a>\u00A0{}", html.empty() ? "" : ", ", *input.made_by,
                          *input.made_by, shape_text(input.shape));
  for (const std::string& leaf : leaves_of(operation)) html += (html.empty() ? "" : "<br/>") + escape(leaf);
  return html.empty() ? dash : html;
}

std::string operation_row(const Graph& graph, const GraphPart& part, size_t i, const Scale& scale) {
  const Operation& o = graph.nodes[i].operation;
  const std::string place = place_in(part, o);
  return fmt::format("<tr id=\"row-{}\"><th scope=\"row\"><span class=\"no\">{}</span> {}{}</th>", i, i,
                     breakable(o.name), place.empty() ? "" : " <span class=\"place\">" + escape(place) + "</span>") +
         given_cell(given(o)) + "<td>" + shape_text(o.output) + "</td>" + cost_cells(graph.nodes[i].cost, scale) +
         "</tr>\n";
}

std::string part_rows(const Graph& graph, const GraphPart& part, const Scale& scale) {
  std::string html = "<tr class=\"part\"><th scope=\"rowgroup\">" + escape(part.name) +
                     "</th><td class=\"given\"></td><td colspan=\"5\"></td></tr>\n";
  for (size_t i = part.begin; i < part.end; ++i) html += operation_row(graph, part, i, scale);
  return html;
}

std::string fold_rows(const Graph& graph, const GraphFold& fold, size_t number, const Scale& scale) {
  if (fold.parts.size() == 1) return "<tbody>\n" + part_rows(graph, fold.parts[0], scale) + "</tbody>\n";
  const std::string name = escape(fold.name());
  std::string html = fmt::format(
      "<tbody>\n<tr class=\"fold-row\"><th scope=\"row\"><button type=\"button\" class=\"toggle\" "
      "aria-expanded=\"false\" "
      "aria-controls=\"fold-{}\" aria-label=\"{}\"></button>{} <span class=\"nowrap\">\u00D7 {}</span></th>",
      number, name, name, fold.parts.size());
  html += given_cell(page::counted(static_cast<int64_t>(fold.end() - fold.begin()), "operation", "operations")) +
          "<td>" + shape_text(graph.nodes[fold.end() - 1].operation.output) + "</td>" +
          cost_cells(cost_of(graph, fold.begin(), fold.end()), {}) + "</tr>\n</tbody>\n";
  html += fmt::format("<tbody class=\"inner\" id=\"fold-{}\">\n", number);
  for (const GraphPart& part : fold.parts) html += part_rows(graph, part, scale);
  return html + "</tbody>\n";
}

std::string operations(const Graph& graph, const std::vector<GraphFold>& folds) {
  const Scale scale = scale_of(graph);
  std::string html =
      "<div class=\"scroll operations\" tabindex=\"0\" role=\"region\" aria-label=\"Operations\"><table>\n<thead><tr>";
  for (const char* title : {"operation", "given", "output", "FLOPs", "bytes kept", "forward, ms", "backward, ms"}) {
    const std::string name = title;
    html += (name == "given" ? "<th scope=\"col\" class=\"text given\">" : "<th scope=\"col\">") + name + "</th>";
  }
  html += "</tr></thead>\n";
  for (size_t f = 0; f < folds.size(); ++f) html += fold_rows(graph, folds[f], f, scale);
  return html + "<tbody><tr class=\"total\"><th scope=\"row\">all</th><td class=\"given\"></td><td></td>" +
         cost_cells(graph.total(), {}) + "</tr></tbody></table></div>\n";
}

std::string bar(const std::string& text, double value, double longest) {
  if (longest <= 0 || value <= 0) return text;
  return fmt::format("<span class=\"bar\" style=\"--w:{:.1f}%\">{}</span>", 100 * value / longest, text);
}

std::string sums(const char* what, const char* caption, const std::vector<CostSum>& sums) {
  page::Table table(caption);
  table.header({what, "operations", "FLOPs", "bytes kept", "forward, ms", "backward, ms"});
  Scale scale;
  for (const CostSum& sum : sums) {
    scale.seconds = std::max({scale.seconds, sum.cost.forward.value_or(0), sum.cost.backward.value_or(0)});
    scale.kept = std::max(scale.kept, static_cast<double>(sum.cost.kept));
  }
  for (const CostSum& sum : sums) {
    const Cost& c = sum.cost;
    table.row({breakable(sum.name), page::grouped(sum.count), si_text(c.flops),
               bar(si_text(static_cast<double>(c.kept)), static_cast<double>(c.kept), scale.kept),
               bar(ms_text(c.forward, dash), c.forward.value_or(0), scale.seconds),
               bar(ms_text(c.backward, dash), c.backward.value_or(0), scale.seconds)});
  }
  return table.html();
}

std::string summary(const Graph& graph, const GraphTitle& title) {
  const Cost total = graph.total();
  page::Table table("");
  table.header({"", "the whole pass"});
  table.row({"objective", escape(title.objective)});
  table.row({"operations", page::grouped(static_cast<int64_t>(graph.nodes.size()))});
  table.row({"FLOPs, forward", page::grouped(static_cast<int64_t>(total.flops))});
  table.row({"bytes kept for the backward pass", page::grouped(total.kept)});
  table.row({"forward, ms", ms_text(total.forward, dash)});
  table.row({"backward, ms", ms_text(total.backward, dash)});
  return table.html();
}

}  // namespace

std::string graph_page(const Graph& graph, const std::vector<GraphFold>& folds, const GraphTitle& title) {
  page::Document document{.title = "The graph of one pass"};
  document.lead = fmt::format("\u201C{}\u201D \u00B7 {}, attention {} \u00B7 {} \u00B7 {}, {}", escape(title.text),
                              escape(title.model), escape(title.attention),
                              page::counted(static_cast<int64_t>(title.tokens.size()), "token", "tokens"),
                              title.precision, page::counted(title.threads, "thread", "threads"));
  const std::string times = fmt::format(
      "Times are medians of {}. What has not run has a dash. FLOPs are those of the forward pass; moving "
      "numbers counts none. Bytes are what the tape gives back when it gives up what an operation saved; "
      "what several operations share counts for the first.",
      page::counted(graph.repeats, "pass", "passes"));
  document.body = page::section("summary", "Summary", summary(graph, title) + page::fine_print(times)) +
                  page::section("operations", "Operations", operations(graph, folds)) +
                  page::section("sums", "Sums",
                                sums("operation", "By operation", sums_by_operation(graph)) +
                                    sums("layer", "By layer", sums_by_part(graph))) +
                  page::section("picture", "The graph",
                                page::paragraph("From top to bottom in the order of execution. On the left what is no "
                                                "result of an operation: parameters and constants; the line at a box's "
                                                "foot is its share of the time of the longest.") +
                                    "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Drawing\">" +
                                    graph_svg(graph, folds, Drawing::within_page) + "</div>\n");
  document.style = std::string(style) + graph_drawing_style();
  document.script = script;
  return document.html();
}

}  // namespace crisp::inspect
