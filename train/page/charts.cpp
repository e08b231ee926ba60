#include "train/page/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "train/page/html.h"

namespace crisp::page {
namespace {

std::string title(const std::string& text) { return "<title>" + escape(text) + "</title>"; }

// x in percent.
std::string line(const char* kind, double x1, double x2, double y1, double y2) {
  return fmt::format("<line class=\"{}\" x1=\"{:.2f}%\" x2=\"{:.2f}%\" y1=\"{}\" y2=\"{}\"/>", kind, x1, x2, y1, y2);
}
std::string vertical(double x, double from, double to, const char* kind) { return line(kind, x, x, from, to); }
std::string horizontal(double from, double to, double y, const char* kind) { return line(kind, from, to, y, y); }

std::string label(const std::string& place, const char* anchor, const std::string& text) {
  return fmt::format("<text {} text-anchor=\"{}\">{}</text>", place, anchor, escape(text));
}

// 1, 2, 2.5 or 5 times a power of ten.
double round_step(double rough) {
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double step : {1.0, 2.0, 2.5, 5.0})
    if (rough <= step * power * (1 + 1e-9)) return step * power;
  return 10 * power;
}

std::string interval_line(const Axis& axis, const Interval95& i, double y, const char* kind) {
  if (!known(i) || i.high < axis.low || i.low > axis.high) return "";
  std::string svg = horizontal(axis.position(i.low), axis.position(i.high), y, kind);
  // A cap where the interval ends; none where it goes on beyond the axis.
  for (const double end : {i.low, i.high})
    if (axis.holds(end)) svg += vertical(axis.position(end), y - 4, y + 4, kind);
  return svg;
}

// A triangle that points out of the picture by (dx, dy), one of them 0 and the other 1 or -1.
std::string outside_mark(double x, double y, int dx, int dy, const std::string& kind, const std::string& tooltip) {
  const int side_x = 5 * dy, side_y = 5 * dx;  // across the direction
  return fmt::format(
      "<svg x=\"{:.2f}%\" y=\"{:.1f}\" width=\"1\" height=\"1\"><path class=\"{}\" "
      "d=\"M{} {}L{} {}L{} {}Z\">{}</path></svg>",
      x, y, kind, -5 * dx + side_x, -5 * dy + side_y, 5 * dx, 5 * dy, -5 * dx - side_x, -5 * dy - side_y,
      title(tooltip));
}

std::string row_svg(const RowChart& chart, const DotRow& row) {
  const double height = 26 + 9.0 * static_cast<double>(row.others.size()), y = 13;
  std::string svg = fmt::format("<svg width=\"100%\" height=\"{}\" aria-hidden=\"true\">", height);
  for (const double tick : chart.axis.ticks) svg += vertical(chart.axis.position(tick), 0, height, "grid");
  if (chart.reference && chart.axis.holds(*chart.reference))
    svg += vertical(chart.axis.position(*chart.reference), 0, height, "reference");
  if (chart.bars && std::isfinite(row.mean))
    svg += horizontal(chart.axis.position(0), chart.axis.position(row.mean), y, "bar");
  svg += interval_line(chart.axis, row.interval, y, "interval");
  for (size_t i = 0; i < row.others.size(); ++i)
    svg +=
        interval_line(chart.axis, row.others[i], y + 12 + 9.0 * static_cast<double>(i), i == 0 ? "thin" : "thin two");
  if (!chart.bars && chart.axis.holds(row.mean)) svg += vertical(chart.axis.position(row.mean), y - 9, y + 9, "mean");
  // Equal values lie above each other.
  std::vector<double> drawn;
  for (const Dot& dot : row.dots) {
    const double x = chart.axis.position(dot.value);
    const auto same =
        std::count_if(drawn.begin(), drawn.end(), [&](double other) { return std::abs(other - x) < 0.8; });
    drawn.push_back(x);
    const double shift = same == 0 ? 0 : (same % 2 == 1 ? -1 : 1) * 5.0 * static_cast<double>((same + 1) / 2);
    const double at = std::clamp(y + shift, 4.0, 22.0);
    svg += chart.axis.holds(dot.value)
               ? fmt::format("<circle class=\"dot\" cx=\"{:.2f}%\" cy=\"{}\" r=\"4\">{}</circle>", x, at,
                             title(dot.tooltip))
               : outside_mark(x, at, x > 50 ? 1 : -1, 0, "dot", dot.tooltip);
  }
  for (int64_t i = 0; i < std::min<int64_t>(row.lost, 8); ++i) {
    const auto x = static_cast<double>(12 * i);
    svg += fmt::format("<path class=\"lost\" d=\"M{0} {2}L{1} {3}M{1} {2}L{0} {3}\">{4}</path>", x - 4, x + 4, y - 4,
                       y + 4, title(row.lost_tooltip));
  }
  return svg + "</svg>";
}

}  // namespace

double Axis::position(double value) const {
  return high > low ? std::clamp(100 * (value - low) / (high - low), 0.0, 100.0) : 50;
}

bool Axis::holds(double value) const {
  const double rounding = 1e-6 * (high - low);
  return value >= low - rounding && value <= high + rounding;
}

std::string Axis::label(double value) const {
  const double shown = unit.factor * value, largest = unit.factor * std::max(std::abs(low), std::abs(high));
  if (largest >= 1e5 && ticks.size() > 1) {
    const double step = unit.factor * (ticks[1] - ticks[0]);
    const double digits = std::floor(std::log10(largest)) - std::floor(std::log10(step)) + 1;  // 2.5 has one more
    const char* sign = shown < 0 ? "−" : unit.sign && shown > 0 ? "+" : "";
    return sign + with_exponent(std::abs(shown), static_cast<int>(std::min(digits, 15.0))) + unit.suffix;
  }
  return (unit.sign ? with_sign(shown, decimals) : fixed(shown, decimals)) + unit.suffix;
}

Axis make_axis(const std::vector<double>& values, std::string title, Unit unit, int count) {
  Axis axis{0, 1, {}, std::move(title), unit};
  auto [low, high] = range_of(values);
  if (low > high) low = 0, high = 1;
  if (high - low <= 1e-9 * std::max(std::abs(low), std::abs(high))) {
    const double room = low == 0 ? 1 : 0.01 * std::abs(low);
    low -= room, high += room;
  }
  const double step = round_step((high - low) / count);
  double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  axis.low = first * step;
  axis.high = last * step;
  if (low - axis.low > 0.4 * step) axis.low = low - 0.1 * step, ++first;
  if (axis.high - high > 0.4 * step) axis.high = high + 0.1 * step, --last;
  for (double i = first; i <= last; ++i) axis.ticks.push_back(i * step);
  const auto whole = [&](double power) {
    return std::abs(step * power - std::round(step * power)) < 1e-6 * power * step;
  };
  for (double power = unit.factor; axis.decimals < 9 && !whole(power); power *= 10) ++axis.decimals;
  return axis;
}

std::vector<double> robust(const std::vector<double>& values, double most) {
  std::vector<double> kept;
  for (const double v : values)
    if (std::abs(v) <= most) kept.push_back(v);
  return kept.empty() ? values : kept;
}

Axis row_axis(const std::vector<DotRow>& rows, std::vector<double> also, std::string title, Unit unit, double most) {
  std::vector<double> values = std::move(also);
  for (const DotRow& row : rows) {
    for (const Dot& dot : row.dots) values.push_back(dot.value);
    values.push_back(row.mean);
  }
  values = robust(values, most);
  const Interval95 shown = range_of(values);
  const double room = std::max(0.0, shown.high - shown.low);
  const double least = shown.low - room, most_shown = shown.high + room;
  for (const DotRow& row : rows) {
    std::vector<Interval95> intervals = row.others;
    intervals.push_back(row.interval);
    for (const Interval95& i : intervals)
      if (known(i) && i.low <= most_shown && i.high >= least)
        values.insert(values.end(), {std::max(i.low, least), std::min(i.high, most_shown)});
  }
  return make_axis(values, std::move(title), unit);
}

std::vector<std::string> RowChart::outside() const {
  std::vector<std::string> list;
  for (const DotRow& row : rows)
    for (const Dot& dot : row.dots)
      if (!axis.holds(dot.value)) list.push_back(dot.tooltip);
  return list;
}

std::string RowChart::html() const {
  size_t longest = 6;
  for (const DotRow& row : rows) longest = std::max(longest, row.label.size());
  std::string html = fmt::format("<div class=\"rows\" style=\"--label:{}ch\" role=\"img\" aria-label=\"{}\">\n",
                                 std::min<size_t>(longest + 1, 26), escape(description));
  for (const DotRow& row : rows) {
    html += fmt::format(
        "<div class=\"row{}\"><div class=\"label\">{}</div><div class=\"plot\">{}</div><div class=\"value\">{}</div>"
        "</div>\n",
        row.highlighted ? " base" : "", escape(row.label), row_svg(*this, row), row.text);
  }
  html += "<div class=\"row axis\"><div class=\"label\"></div><div class=\"plot\"><svg width=\"100%\" height=\"38\">";
  for (const double tick : axis.ticks)
    html += label(fmt::format("x=\"{:.2f}%\" y=\"14\"", axis.position(tick)), "middle", axis.label(tick));
  html += label("class=\"title\" x=\"50%\" y=\"33\"", "middle", axis.title);
  return html + "</svg></div><div class=\"value\"></div></div>\n</div>\n";
}

namespace {

// Grid, ticks and titles of a chart with two axes; `inside` is drawn over it.
std::string frame(const Axis& x, const Axis& y, int height, const std::string& description, const std::string& inside) {
  std::string svg = fmt::format(
      "<div class=\"frame\"><div class=\"ytitle\">{}</div><svg width=\"100%\" height=\"{}\" "
      "role=\"img\" aria-label=\"{}\">",
      escape(y.title), height, escape(description));
  const auto place = [&](double value) { return height * (1 - y.position(value) / 100); };
  for (const double tick : y.ticks) {
    svg += horizontal(0, 100, place(tick), "grid");
    svg += label(fmt::format("x=\"-8\" y=\"{:.1f}\"", place(tick) + 4), "end", y.label(tick));
  }
  for (const double tick : x.ticks) {
    svg += vertical(x.position(tick), 0, height, "grid");
    svg += label(fmt::format("x=\"{:.2f}%\" y=\"{}\"", x.position(tick), height + 17), "middle", x.label(tick));
  }
  svg += label(fmt::format("class=\"title\" x=\"50%\" y=\"{}\"", height + 35), "middle", x.title);
  svg += horizontal(0, 100, height, "grid");
  return svg + inside + "</svg></div>\n";
}

// Coordinates in a square of 1000 that is stretched to the plot.
std::string coordinates(const Axis& x, const Axis& y, const std::vector<double>& xs, const std::vector<double>& ys,
                        bool backwards = false) {
  std::string list;
  for (size_t k = 0; k < xs.size(); ++k) {
    const size_t i = backwards ? xs.size() - 1 - k : k;
    if (std::isfinite(xs[i]) && std::isfinite(ys[i]))
      list += fmt::format("{:.1f},{:.1f} ", 10 * x.position(xs[i]), 1000 - 10 * y.position(ys[i]));
  }
  return list;
}

}  // namespace

std::string CurveChart::html() const {
  std::string inside =
      fmt::format("<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" width=\"100%\" height=\"{}\">", height);
  for (const Curve& curve : curves) {
    if (curve.low.empty()) continue;
    inside += fmt::format("<polygon class=\"band c{}\" points=\"{}{}\"/>", curve.colour,
                          coordinates(x, y, curve.x, curve.low), coordinates(x, y, curve.x, curve.high, true));
  }
  std::string dots;
  for (const Curve& curve : curves) {
    inside += fmt::format("<polyline class=\"curve c{}\" points=\"{}\">{}</polyline>", curve.colour,
                          coordinates(x, y, curve.x, curve.y), title(curve.label));
    if (curve.colour == Curve::lost) continue;
    for (size_t i = 0; i < curve.x.size(); ++i) {
      const bool held = y.holds(curve.y[i]), each = curve.x.size() <= 12;
      const double left = x.position(curve.x[i]), top = height * (1 - y.position(curve.y[i]) / 100);
      const std::string tooltip = fmt::format("{}: {} at {}", curve.label, fixed(curve.y[i], 4), x.label(curve.x[i]));
      if (held && each)
        dots += fmt::format("<circle class=\"mark c{}\" cx=\"{:.2f}%\" cy=\"{:.1f}\" r=\"3\">{}</circle>", curve.colour,
                            left, top, title(tooltip));
      else if (!held && (each || i == 0 || y.holds(curve.y[i - 1])))
        dots +=
            outside_mark(left, top, 0, curve.y[i] > y.high ? -1 : 1, fmt::format("mark c{}", curve.colour), tooltip);
    }
  }
  return frame(x, y, height, description, inside + "</svg>" + dots);
}

std::string outside_note(const std::vector<std::string>& names) {
  return names.empty() ? "" : "<p class=\"small\">Outside the scale, at its edge: " + listed(names) + ".</p>\n";
}

std::string legend(const std::vector<Curve>& curves) {
  std::string html = "<ul class=\"legend\">";
  for (const Curve& curve : curves)
    html += fmt::format(
        "<li><svg width=\"34\" height=\"10\" aria-hidden=\"true\"><line class=\"curve c{}\" x1=\"1\" x2=\"33\" "
        "y1=\"5\" y2=\"5\"/></svg> {}</li>",
        curve.colour, escape(curve.label));
  return html + "</ul>\n";
}

std::string ScatterChart::html() const {
  constexpr int height = 320;
  // A number keeps clear of the others and of the axis, on a phone's 280 pixels as well.
  constexpr double half_a_number = 8;
  struct Box {
    double x, y;
  };
  std::vector<Box> taken;
  const auto screen = [&](const ScatterPoint& p) {
    return Box{2.8 * x.position(p.x), height * (1 - y.position(p.y) / 100)};
  };
  const auto clash = [](Box a, Box b) { return std::abs(a.x - b.x) < 15 && std::abs(a.y - b.y) < 12; };
  std::string inside;
  for (const ScatterPoint& p : points) {
    taken.push_back(screen(p));
    for (const auto& [run_x, run_y] : p.runs)
      inside +=
          fmt::format("<circle class=\"{}\" cx=\"{:.2f}%\" cy=\"{:.1f}\" r=\"3\"/>", p.highlighted ? "run base" : "run",
                      x.position(run_x), height * (1 - y.position(run_y) / 100));
  }
  for (const ScatterPoint& p : points) {
    const Box at = screen(p);
    Box best{at.x + 15, at.y};
    for (const Box shift :
         {Box{15, 0},   Box{-15, 0},   Box{0, -13},  Box{0, 13},   Box{12, -12}, Box{12, 12},   Box{-12, -12},
          Box{-12, 12}, Box{24, 0},    Box{-24, 0},  Box{0, -26},  Box{0, 26},   Box{24, -12},  Box{-24, 12},
          Box{24, 12},  Box{-24, -12}, Box{12, -26}, Box{-12, 26}, Box{12, 26},  Box{-12, -26}, Box{36, 0},
          Box{36, -13}, Box{36, 13},   Box{28, -26}, Box{28, 26},  Box{44, -26}, Box{44, 26},   Box{52, 0}}) {
      const Box candidate{at.x + shift.x, at.y + shift.y};
      const bool free = std::none_of(taken.begin(), taken.end(), [&](Box other) { return clash(other, candidate); });
      if (!free || candidate.x < half_a_number || candidate.y < 4 || candidate.y > height - 2) continue;
      best = candidate;
      break;
    }
    taken.push_back(best);
    const double dx = best.x - at.x, dy = best.y - at.y;
    // A group moves with the width; within it the number's place is in pixels.
    const std::string leader =
        std::hypot(dx, dy) < 18
            ? ""
            : fmt::format("<line class=\"leader\" x1=\"0\" y1=\"0\" x2=\"{:.0f}\" y2=\"{:.0f}\"/>", dx, dy);
    inside += fmt::format(
        "<svg x=\"{:.2f}%\" y=\"{:.1f}\" width=\"1\" height=\"1\"><g>{}{}<circle class=\"{}\" cx=\"0\" cy=\"0\" "
        "r=\"5\"/><text class=\"number\" "
        "x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"middle\">{}</text></g></svg>",
        x.position(p.x), at.y, title(p.tooltip), leader, p.highlighted ? "dot base" : "dot", dx, dy + 4, p.number);
  }
  return frame(x, y, height, description, inside);
}

namespace {

// Shades begin above nothing, so that 0 differs from an empty cell.
double shade(double value, double scale) { return 0.04 + 0.96 * std::clamp(scale > 0 ? value / scale : 0, 0.0, 1.0); }

}  // namespace

std::string HeatMap::html() const {
  constexpr int cell = 20;
  size_t columns = 1;
  for (const auto& row : rows) columns = std::max(columns, row.size());
  const double width = 100.0 / static_cast<double>(columns);
  const int height = cell * static_cast<int>(rows.size());
  std::string html = fmt::format(
      "<div class=\"heat\"><h4>{}</h4><div class=\"heatplot\"><svg width=\"100%\" height=\"{}\" role=\"img\" "
      "aria-label=\"{}\">",
      escape(title), height, escape(description));
  for (size_t r = 0; r < rows.size(); ++r) {
    const int top = cell * static_cast<int>(r);
    html += fmt::format("<text x=\"-6\" y=\"{}\" text-anchor=\"end\">{}</text>", top + 14, r);
    for (size_t c = 0; c < rows[r].size(); ++c) {
      const double value = rows[r][c];
      const std::string place = fmt::format("x=\"{:.3f}%\" y=\"{}\" width=\"{:.3f}%\" height=\"{}\"",
                                            width * static_cast<double>(c), top, width, cell);
      html += std::isfinite(value)
                  ? fmt::format("<rect class=\"cell\" {} fill-opacity=\"{:.3f}\">", place, shade(value, scale))
                  : fmt::format("<rect class=\"cell none\" {}>", place);
      html += page::title(tooltip(r, c, value)) + "</rect>";
    }
  }
  return html + "</svg></div></div>\n";
}

std::string heat_key(double scale, const std::string& unit, int decimals) {
  std::string html =
      fmt::format("<p class=\"key\">{} <svg width=\"120\" height=\"12\" aria-hidden=\"true\">", fixed(0, decimals));
  for (int i = 0; i < 12; ++i)
    html += fmt::format("<rect class=\"cell\" x=\"{}\" y=\"0\" width=\"10\" height=\"12\" fill-opacity=\"{:.3f}\"/>",
                        10 * i, shade(i / 11.0, 1));
  return html + fmt::format("</svg> {} {}</p>\n", fixed(scale, decimals), unit);
}

}  // namespace crisp::page
