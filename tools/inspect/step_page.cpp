// A pass as a page that steps with the arrow keys, buttons or a finger; without its script, all nodes one below the
// other.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/inspect/step_output.h"
#include "tools/inspect/step_style.h"
#include "train/page/html.h"

namespace crisp::inspect {
namespace {

using page::escape;

constexpr size_t most_bytes = 1'800'000;
constexpr size_t cell_bytes = 28, matrix_bytes = 360, node_bytes = 1200;  // without cells; without matrices

// How many rows and columns of each matrix are shown.
size_t limit_for(const std::vector<StepNode>& nodes) {
  size_t matrices = 0;
  for (const StepNode& node : nodes) matrices += 2 + 2 * node.inputs.size();
  for (const size_t limit : {8, 6, 4, 3, 2})
    if (nodes.size() * node_bytes + matrices * (limit * limit * cell_bytes + matrix_bytes) < most_bytes) return limit;
  return 1;
}

// Of one number by itself: "0", "-0.012", "1.2e-5".
std::string statistic(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "nan" : value > 0 ? "inf" : "\u2212inf";
  const double size = std::abs(value);
  if (size > 0 && (size >= 9999.5 || size < 0.00095)) {
    std::string text = page::with_exponent(size, 1);
    if (const size_t at = text.find('-'); at != std::string::npos) text.replace(at, 1, "\u2212");
    return (value < 0 ? "\u2212" : "") + text;
  }
  return page::fixed(value, size < 0.9995 ? 3 : size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

// How all numbers of a matrix are written: times a power of ten where the largest is small or large, in five characters
// and a sign.
struct Digits {
  int exponent = 0, decimals = 0;

  explicit Digits(double largest) {
    if (largest <= 0) return;
    const int power = static_cast<int>(std::floor(std::log10(largest)));
    if (power < -1 || power > 2) exponent = power;
    decimals = std::clamp(2 - (power - exponent), 0, 3);
  }
  std::string text(double value) const {
    if (!std::isfinite(value)) return statistic(value);
    return value == 0 ? "0" : page::fixed(value * std::pow(10, -exponent), decimals);
  }
  std::string note() const {
    if (exponent == 0) return "";
    return fmt::format(", \u00D7\u00A010<sup>{}{}</sup>", exponent < 0 ? "\u2212" : "", std::abs(exponent));
  }
};

// A shade of 0 to 9 by the size in comparison with the largest that is shown: p of positive, n of negative numbers.
std::string shade(double value, double largest) {
  if (!std::isfinite(value)) return "x";
  const int level = largest > 0 ? static_cast<int>(std::lround(9 * std::abs(value) / largest)) : 0;
  return fmt::format("{}{}", value < 0 ? 'n' : 'p', level);
}

std::string matrix(const std::string& caption, const Excerpt& e, size_t limit) {
  const size_t rows = std::min(e.corner.size(), limit);
  const size_t columns = rows == 0 ? 0 : std::min(e.corner[0].size(), limit);
  double largest = 0;
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c)
      if (std::isfinite(e.corner[r][c])) largest = std::max(largest, std::abs(e.corner[r][c]));
  const Digits digits(largest);
  std::string cells;
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c)
      cells += fmt::format("<i class=\"{}\">{}</i>", shade(e.corner[r][c], largest), digits.text(e.corner[r][c]));
  const char* wide = static_cast<int64_t>(columns) < e.columns() ? " wide" : "";
  const char* high = static_cast<int64_t>(rows) < e.rows() ? " high" : "";
  return fmt::format(
      "<figure class=\"matrix\"><figcaption>{} <span class=\"nowrap\">{}{}</span><br/><span class=\"small\">mean {} "
      "\u00B7 {} to {} \u00B7 norm {}</span></figcaption><div class=\"cells c{}{}{}\">{}</div></figure>\n",
      caption, shape_text(e.shape), digits.note(), statistic(e.mean), statistic(e.least), statistic(e.most),
      statistic(e.norm), columns, wide, high, cells);
}

std::string input_caption(const OperationInput& input) {
  if (input.made_by) return fmt::format("<a href=\"#node-{}\">result of {}</a>", *input.made_by, *input.made_by);
  if (input.name.empty()) return input.trained ? "leaf" : "constant";
  return "<b>" + escape(last_words(input.name)) + "</b>";
}

std::string formula(const char* text) {
  return *text == '\0' ? "" : "<p class=\"formula\"><code>" + escape(text) + "</code></p>\n";
}

std::string rows_note(const StepInput& input) {
  if (input.rows.empty()) return "";
  std::string text = ", rows ";
  for (size_t i = 0; i < std::min<size_t>(input.rows.size(), 8); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : ", ", input.rows[i]);
  return text + (input.rows.size() > 8 ? ", ..." : "");
}

std::string forward(const StepNode& node, size_t limit) {
  std::string html =
      "<section class=\"forward\">\n<h4>Forward</h4>\n" + formula(formula_of(node.operation.name).forward);
  html += "<div class=\"matrices\">\n" + matrix("<b class=\"y\">y</b>", node.value, limit);
  for (size_t k = 0; k < node.inputs.size(); ++k)
    html += matrix(input_caption(node.operation.inputs[k]), node.inputs[k].value, limit);
  return html + "</div>\n</section>\n";
}

std::string backward(const StepNode& node, size_t limit) {
  std::string html = "<section class=\"backward\">\n<h4>Backward</h4>\n";
  if (!node.gradient)
    return html + page::paragraph("\u2013 The objective does not depend on it: has not run.") + "</section>\n";
  html += formula(formula_of(node.operation.name).backward);
  html +=
      "<div class=\"matrices\">\n" + matrix("<b class=\"y\">dy</b>, the gradient of its result", *node.gradient, limit);
  for (size_t k = 0; k < node.inputs.size(); ++k)
    if (node.inputs[k].added)
      html += matrix("adds to " + input_caption(node.operation.inputs[k]) + rows_note(node.inputs[k]),
                     *node.inputs[k].added, limit);
  return html + "</div>\n</section>\n";
}

std::string list(const std::vector<StepNode>& nodes) {
  std::string html = "<ol id=\"list\" class=\"list\">\n";
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Operation& o = nodes[i].operation;
    const std::string place = dotted_name(o);
    html += fmt::format(
        "<li><a href=\"#node-{}\"><span class=\"no\">{}</span> {}<span class=\"place\">{}</span></a></li>\n", i, i,
        escape(o.name), escape(place.size() > o.name.size() ? place.substr(0, place.size() - o.name.size() - 1) : ""));
  }
  return html + "</ol>\n";
}

std::string article(const StepNode& node, size_t i, size_t limit) {
  return fmt::format(
             "<article id=\"node-{}\" class=\"node\">\n<h3><span class=\"no\">{}</span> {} <span class=\"place\">{}"
             "</span></h3>\n",
             i, i, escape(node.operation.name), escape(scope_text(node.operation))) +
         forward(node, limit) + backward(node, limit) + "</article>\n";
}

constexpr const char* controls = R"html(<div id="controls" class="controls">
<button type="button" id="first" aria-label="to the first step">«</button>
<button type="button" id="back" aria-label="one step back">←</button>
<button type="button" id="next" aria-label="one step on">→</button>
<button type="button" id="last" aria-label="to the last step">»</button>
<input type="range" id="slider" min="0" value="0" aria-label="step"/>
<output id="where" aria-live="polite"></output>
</div>
)html";

}  // namespace

std::string step_page(const std::vector<StepNode>& nodes, const GraphTitle& title) {
  const size_t limit = limit_for(nodes);
  page::Document document{.title = "Step by step through one pass"};
  document.lead = fmt::format("\u201C{}\u201D \u00B7 {} \u00B7 {}, attention {} \u00B7 {}", escape(title.text),
                              escape(title.objective), escape(title.model), escape(title.attention), title.precision);
  std::string help = fmt::format(
      "Each operation's result y and what it was given, then, from the last to the first, the gradient dy of the "
      "objective by y and what the operation adds to the gradients of what it was given. Of a matrix the first {0} "
      "rows "
      "and columns are shown, all times the power of ten that stands above it, shaded by their share of the largest: "
      "<span class=\"sample p6\">positive</span> "
      "<span class=\"sample n6\">negative</span>.",
      limit);
  std::string articles;
  for (size_t i = 0; i < nodes.size(); ++i) articles += article(nodes[i], i, limit);
  document.body = page::details("How to read this page", page::paragraph(help)) +
                  "<p class=\"small keys\">Keys: <kbd>\u2190</kbd> and <kbd>\u2192</kbd> step, <kbd>Home</kbd> and "
                  "<kbd>End</kbd> go to the ends; or swipe.</p>\n" +
                  "<div id=\"player\" class=\"player\">\n" + list(nodes) + "<div class=\"stage\">\n" + controls +
                  articles + "</div>\n</div>\n";
  document.style = step_style;
  document.script = step_script;
  return document.html();
}

}  // namespace crisp::inspect
