#include "tools/inspect/curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "train/page/html.h"

namespace crisp::inspect {
namespace {

constexpr double least = 1e-18;  // below it a value is drawn at the bottom: 0 has no logarithm

struct Decades {
  int low = 0, high = 0;
  double part(double value) const {  // 0 at the low end, 1 at the high one
    return (std::log10(std::max(value, least)) - low) / std::max(1, high - low);
  }
};

Decades decades_of(const std::vector<double>& values) {
  double low = 1e300, high = least;
  for (const double v : values)
    if (std::isfinite(v)) low = std::min(low, std::max(v, least)), high = std::max(high, v);
  if (low > high) low = least, high = 1;
  return {static_cast<int>(std::floor(std::log10(low))), static_cast<int>(std::ceil(std::log10(high)))};
}

std::vector<double> all(const LineProof& proof, double LineStep::*member) {
  std::vector<double> values;
  for (const LineStep& step : proof.steps) values.push_back(step.*member);
  return values;
}

}  // namespace

std::string curve_text(const LineProof& proof) {
  constexpr int width = 60, height = 14;
  const Decades x = decades_of(all(proof, &LineStep::step)), y = decades_of(all(proof, &LineStep::error));
  std::vector<std::string> rows(height, std::string(width, ' '));
  for (const LineStep& step : proof.steps) {
    if (!std::isfinite(step.error)) continue;
    const auto column = static_cast<size_t>(std::lround(x.part(step.step) * (width - 1)));
    const auto row = static_cast<size_t>(std::lround((1 - y.part(step.error)) * (height - 1)));
    rows[std::min<size_t>(row, height - 1)][std::min<size_t>(column, width - 1)] =
        step.step == proof.numeric_step ? '@' : '*';
  }
  std::string text = "  relative error of (f(h) - f(-h)) / 2h; @: the h of the differences above\n";
  for (int r = 0; r < height; ++r) {
    const std::string label = r == 0 ? fmt::format("1e{}", y.high) : r == height - 1 ? fmt::format("1e{}", y.low) : "";
    std::string line = fmt::format("{:>7} |{}", label, rows[static_cast<size_t>(r)]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  const std::string left = fmt::format("1e{}", x.low), right = fmt::format("1e{}  step h", x.high);
  text += fmt::format("{:8}+{:-<{}}\n{:9}{}{:>{}}\n", "", "", width, "", left, right,
                      width - static_cast<int>(left.size()));
  return text;
}

std::string curve_svg(const DerivativeProof& proof, const std::string& objective) {
  constexpr double width = 640, height = 400, left = 70, right = 20, top = 70, bottom = 50;
  const std::vector<LineStep>& steps = proof.proof.steps;
  std::vector<double> values = all(proof.proof, &LineStep::error);
  const std::vector<double> remainders = all(proof.proof, &LineStep::remainder);
  values.insert(values.end(), remainders.begin(), remainders.end());
  const Decades x = decades_of(all(proof.proof, &LineStep::step)), y = decades_of(values);
  const auto px = [&](double v) { return left + x.part(v) * (width - left - right); };
  const auto py = [&](double v) { return height - bottom - y.part(v) * (height - top - bottom); };
  const auto polyline = [&](double LineStep::*member, const char* kind) {
    std::string points, dots;
    for (const LineStep& s : steps) {
      if (!std::isfinite(s.*member)) continue;
      points += fmt::format("{:.1f},{:.1f} ", px(s.step), py(s.*member));
      dots += fmt::format(
          "<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.5\"><title>h = {:.3g}: {:.3g}</title></circle>", kind,
          px(s.step), py(s.*member), s.step, s.*member);
    }
    return fmt::format("<polyline class=\"{}\" points=\"{}\"/>{}\n", kind, points, dots);
  };
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\">\n"
      "<style>svg {{ --page: #fff; --text: #1b1f24; --soft: #57606a; --line: #d8dee4; --a: #0072b2; --b: #c04f00; "
      "background: var(--page); }}\n@media (prefers-color-scheme: dark) {{ svg {{ --page: #0f1318; --text: #e6e9ed; "
      "--soft: #9ba5b0; --line: #323a44; --a: #56b4e9; --b: #e69f00; }} }}\n"
      "text {{ font: 12px system-ui, \"DejaVu Sans\", sans-serif; fill: var(--text); }} .soft {{ fill: var(--soft); "
      "}}\n"
      ".grid {{ stroke: var(--line); }} polyline {{ fill: none; stroke-width: 1.5; }}\n"
      "polyline.error {{ stroke: var(--a); }} .error, .name-error {{ fill: var(--a); }} polyline.error {{ fill: none; "
      "}}\n"
      "polyline.remainder {{ stroke: var(--b); stroke-dasharray: 5 3; fill: none; }} circle.remainder, .name-remainder "
      "{{ fill: var(--b); }}</style>\n",
      width, height);
  svg += fmt::format("<text x=\"{}\" y=\"20\">d {} / d {}</text>\n", left, page::escape(objective),
                     page::escape(proof.name));
  svg += fmt::format("<text class=\"soft\" x=\"{}\" y=\"38\">backward pass {:.12g}, differences {:.12g}{}</text>\n",
                     left, proof.proof.analytic, proof.proof.numeric,
                     proof.proof.slope ? fmt::format(", remainder's slope {:.2f}", *proof.proof.slope) : "");
  svg += fmt::format(
      "<text class=\"name-error\" x=\"{0}\" y=\"58\">error of central differences (relative)</text>"
      "<text class=\"name-remainder\" x=\"{1}\" y=\"58\">remainder |f(h) - f(0) - h f&#39;|</text>\n",
      left, left + 270);
  const auto ticks = [](const Decades& d) { return std::max(1, (d.high - d.low + 7) / 8); };
  for (int e = x.low; e <= x.high; e += ticks(x)) {
    const double at = px(std::pow(10.0, e));
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/><text class=\"soft\" "
        "text-anchor=\"middle\" x=\"{0:.1f}\" y=\"{3}\">1e{4}</text>\n",
        at, top, height - bottom, height - bottom + 18, e);
  }
  for (int e = y.low; e <= y.high; e += ticks(y)) {
    const double at = py(std::pow(10.0, e));
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/><text class=\"soft\" "
        "text-anchor=\"end\" x=\"{3}\" y=\"{4:.1f}\">1e{5}</text>\n",
        left, width - right, at, left - 6, at + 4, e);
  }
  svg += polyline(&LineStep::error, "error") + polyline(&LineStep::remainder, "remainder");
  svg += fmt::format("<text class=\"soft\" text-anchor=\"middle\" x=\"{}\" y=\"{}\">step h</text>\n</svg>\n",
                     (left + width - right) / 2, height - 12);
  return svg;
}

}  // namespace crisp::inspect
