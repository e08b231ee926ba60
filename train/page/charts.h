// The report's charts: SVG whose positions are percentages, so that a chart takes any width while its text keeps its
// size. Labels are HTML; colours are CSS classes of style.h.
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "train/page/interval.h"

namespace crisp::page {

/// How an axis writes its numbers.
struct Unit {
  double factor = 1;
  const char* suffix = "";
  bool sign = false;
};
inline constexpr Unit plain_unit{}, percent_unit{100, "\u00A0%"}, points_unit{100, "", true};

/// A linear scale with round ticks, written with the digits that keep them apart: with an exponent where they are
/// large.
struct Axis {
  double low = 0, high = 1;
  std::vector<double> ticks;
  std::string title;
  Unit unit{};
  int decimals = 0;

  std::string label(double value) const;

  /// Where `value` lies: 0 at the low end, 100 at the high end; clamped.
  double position(double value) const;
  /// Up to the rounding of the ends, which are multiples of a step.
  bool holds(double value) const;
};

/// Covers the finite ones of `values`, with about `count` ticks; the ends are ticks where that wastes little.
Axis make_axis(const std::vector<double>& values, std::string title, Unit unit, int count = 4);

struct Dot {
  double value;
  std::string tooltip;  // plain text
};

/// A line of a chart with one row for each arm.
/// Dots outside the axis are triangles at its edge, and means and references there are not drawn.
struct DotRow {
  std::string label;   // plain text
  std::string text{};  // HTML: the numbers at the right end
  bool highlighted = false;
  std::vector<Dot> dots{};
  double mean = unknown;             // NaN: none
  Interval95 interval{};             // the thick one; NaN: none
  std::vector<Interval95> others{};  // thin ones below it
  int64_t lost = 0;                  // crosses at the left end: runs without a value
  std::string lost_tooltip{};
};

struct RowChart {
  Axis axis;
  std::optional<double> reference;  // a dashed line through all rows
  std::string description;          // plain text, for those who don't see it
  bool bars = false;                // from 0 to the mean
  std::vector<DotRow> rows;

  std::string html() const;
  /// The tooltips of the dots outside the axis.
  std::vector<std::string> outside() const;
};

/// The axis that shows every dot and, as far as dots stay apart, the intervals: a t interval of two values may be a
/// hundred times as long as their distance. Of magnitudes above `most` none counts, unless all are.
Axis row_axis(const std::vector<DotRow>& rows, std::vector<double> also, std::string title, Unit unit,
              double most = std::numeric_limits<double>::infinity());
/// Without the magnitudes above `most`, unless all finite ones are.
std::vector<double> robust(const std::vector<double>& values, double most);

struct Curve {
  static constexpr int lost = 9;  // the colour of runs without a result

  std::string label;  // plain text
  int colour = 0;     // 0: the baseline's; 1..4; lost
  size_t arm = 0;     // whose it is
  std::vector<double> x{}, y{};
  std::vector<double> low{}, high{};  // a band around y; may be empty
};

/// Where a curve leaves the y axis it has a triangle at the edge, along which it goes on.
struct CurveChart {
  Axis x, y;
  std::string description;
  std::vector<Curve> curves;
  int height = 240;

  std::string html() const;
};

/// A line below a chart that names what lies outside of it, in HTML; "" for nothing.
std::string outside_note(const std::vector<std::string>& names);

/// What the curves' colours mean.
std::string legend(const std::vector<Curve>& curves);

struct ScatterPoint {
  double x, y;
  int number;  // drawn beside it
  bool highlighted;
  std::string tooltip;
  std::vector<std::pair<double, double>> runs{};  // what it is the mean of, drawn faintly
};

struct ScatterChart {
  Axis x, y;
  std::string description;
  std::vector<ScatterPoint> points;

  std::string html() const;
};

/// A matrix of shaded cells: `rows` of numbers in [0, scale]; NaN is an empty cell.
struct HeatMap {
  std::string title;        // plain text
  std::string description;  // plain text
  double scale = 1;
  std::vector<std::vector<double>> rows;
  std::function<std::string(size_t row, size_t column, double value)> tooltip;

  std::string html() const;
};
/// The scale's shades from 0 to `scale`.
std::string heat_key(double scale, const std::string& unit, int decimals);

}  // namespace crisp::page
