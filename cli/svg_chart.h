// Line charts and stacked bars as inline SVG. Pure functions; colours come from CSS classes of the
// page (s0..s5 for series, p0..p4 for parts), so that light and dark share one picture.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace laconic::cli {

enum class Scale { kLinear, kLog };
enum class Unit {
  kPlain,    // 0.25, 12
  kBytes,    // 10 kB, 2.5 MB
  kSeconds,  // shown in s, min or h, whichever suits the whole axis
};

struct Axis {
  std::string label;  // "time"; the unit is added where there is one
  Scale scale = Scale::kLinear;
  Unit unit = Unit::kPlain;
  bool from_zero = false;  // linear only: the axis begins at 0
};

struct ChartPoint {
  double x = 0;
  double y = 0;
};

struct Series {
  std::string name;
  int color = 0;  // class s<color>
  bool dashed = false;
  bool markers = false;            // a dot at every point
  std::vector<ChartPoint> points;  // in x order; a point that cannot be drawn breaks the line
};

struct LineChart {
  std::string description;  // for screen readers
  Axis x, y;
  std::vector<Series> series;
};

struct StackedBar {
  std::string label;
  std::vector<double> values;  // one per part, >= 0
};

struct StackedBars {
  std::string description;
  Axis x;
  std::vector<std::string> parts;  // names, class p<index>
  std::vector<StackedBar> bars;
};

// Round numbers that cover [low, high], about `count` of them: multiples of 1, 2, 2.5 or 5 times a
// power of ten. At least two, ascending; the first is <= low, the last >= high.
std::vector<double> linear_ticks(double low, double high, int count);
// The same on a log axis: powers of ten, with 2 and 5 between where there is room.
// Needs 0 < low <= high.
std::vector<double> log_ticks(double low, double high);

// "0.25", "10 kB", "90"; `step` is the distance to the next tick and decides the decimals.
std::string tick_label(double value, double step, Unit unit);

// Escapes &, <, >, " and ' for text and attributes of HTML and SVG.
std::string escape_html(std::string_view text);

// An <svg> element. Without a single point that can be drawn: the axes' place with "no data".
std::string line_chart_svg(const LineChart& chart);
std::string stacked_bars_svg(const StackedBars& chart);

}  // namespace laconic::cli
