#include "cli/svg_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace laconic::cli {
namespace {

// All lengths are in SVG user units; the page scales the picture.
constexpr double kWidth = 560;
constexpr double kHeight = 300;
constexpr double kLeft = 74;
constexpr double kRight = 26;  // half of the last label stands there
constexpr double kTop = 38;    // the legend stands above the plot
constexpr double kBottom = 44;
constexpr double kLetterWidth = 6.6;  // of the 12 px text, a little above the average
constexpr double kBarHeight = 22;
constexpr double kBarPitch = 34;
constexpr int kTicksWanted = 5;
constexpr size_t kLogTicksMax = 7;

// A scaled axis: maps values to user units between `begin` and `end`.
struct Mapping {
  Scale scale = Scale::kLinear;
  Unit unit = Unit::kPlain;
  double divisor = 1;  // seconds per shown unit
  std::vector<double> ticks;
  double begin = 0;
  double end = 0;

  double at(double value) const {
    const double low = scale == Scale::kLog ? std::log10(ticks.front()) : ticks.front();
    const double high = scale == Scale::kLog ? std::log10(ticks.back()) : ticks.back();
    const double position = scale == Scale::kLog ? std::log10(value) : value;
    return begin + (end - begin) * (position - low) / (high - low);
  }
  std::string label(size_t tick) const {
    const double step = ticks.size() > 1 ? ticks[1] - ticks[0] : ticks[0];
    return tick_label(ticks[tick], scale == Scale::kLog ? ticks[tick] : step, unit);
  }
};

bool drawable(double value, Scale scale) {
  return std::isfinite(value) && (scale == Scale::kLinear || value > 0);
}

bool drawable(const ChartPoint& point, const LineChart& chart) {
  return drawable(point.x, chart.x.scale) && drawable(point.y, chart.y.scale);
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

// Times read best in the unit that keeps the numbers small.
double time_divisor(double high) {
  return high <= 180 ? 1 : (high <= 10800 ? 60 : 3600);
}

std::string time_unit(double divisor) {
  return divisor == 1 ? "s" : (divisor == 60 ? "min" : "h");
}

Mapping make_mapping(const Axis& axis, Range range, double begin, double end) {
  Mapping mapping;
  mapping.scale = axis.scale;
  mapping.unit = axis.unit;
  mapping.begin = begin;
  mapping.end = end;
  if (axis.scale == Scale::kLog) {
    mapping.ticks = log_ticks(range.low, range.high);
    return mapping;
  }
  if (axis.from_zero) {
    range.low = std::min(range.low, 0.0);
  }
  if (axis.unit == Unit::kSeconds) {
    mapping.divisor = time_divisor(range.high);
  }
  mapping.ticks =
      linear_ticks(range.low / mapping.divisor, range.high / mapping.divisor, kTicksWanted);
  return mapping;
}

std::string axis_title(const Axis& axis, const Mapping& mapping) {
  if (axis.unit == Unit::kSeconds) {
    return absl::StrCat(axis.label, " (", time_unit(mapping.divisor), ")");
  }
  return axis.label;
}

std::string number(double value) {
  return absl::StrFormat("%.1f", value);
}

std::string text_at(double x, double y, const std::string& anchor, const std::string& text) {
  return absl::StrCat("<text x=\"", number(x), "\" y=\"", number(y), "\" text-anchor=\"", anchor,
                      "\">", escape_html(text), "</text>\n");
}

std::string line_at(double x1, double y1, double x2, double y2, const std::string& css_class) {
  return absl::StrCat("<line class=\"", css_class, "\" x1=\"", number(x1), "\" y1=\"", number(y1),
                      "\" x2=\"", number(x2), "\" y2=\"", number(y2), "\"/>\n");
}

std::string open_svg(double height, const std::string& description) {
  return absl::StrCat("<svg viewBox=\"0 0 ", kWidth, " ", height, "\" role=\"img\" aria-label=\"",
                      escape_html(description), "\" xmlns=\"http://www.w3.org/2000/svg\">\n");
}

struct LegendEntry {
  std::string name;
  std::string swatch_class;
  bool line = true;  // otherwise a box
};

// One row above the plot, left to right.
std::string legend(const std::vector<LegendEntry>& entries, double left) {
  std::string out;
  double x = left;
  for (const LegendEntry& entry : entries) {
    constexpr double kSwatch = 20;
    if (entry.line) {
      out += line_at(x, 16, x + kSwatch, 16, entry.swatch_class);
    } else {
      absl::StrAppend(&out, "<rect class=\"", entry.swatch_class, "\" x=\"", number(x),
                      "\" y=\"10\" width=\"12\" height=\"12\" rx=\"2\"/>\n");
    }
    const double gap = entry.line ? kSwatch + 6 : 18;
    out += text_at(x + gap, 20, "start", entry.name);
    x += gap + kLetterWidth * static_cast<double>(entry.name.size()) + 16;
  }
  return out;
}

std::string x_axis(const Axis& axis, const Mapping& map, double top, double bottom) {
  std::string out;
  // Labels of a log axis may stand too close: one is left out when it would touch the last.
  double free_from = -std::numeric_limits<double>::infinity();
  for (size_t tick = 0; tick < map.ticks.size(); ++tick) {
    const double x = map.at(map.ticks[tick]);
    const std::string label = map.label(tick);
    const double half = kLetterWidth * static_cast<double>(label.size()) / 2;
    out += line_at(x, top, x, bottom, "grid");
    if (x - half >= free_from) {
      out += text_at(x, bottom + 18, "middle", label);
      free_from = x + half + 8;
    }
  }
  out += text_at((map.begin + map.end) / 2, bottom + 37, "middle", axis_title(axis, map));
  return out;
}

std::string y_axis(const Axis& axis, const Mapping& map) {
  std::string out;
  for (size_t tick = 0; tick < map.ticks.size(); ++tick) {
    const double y = map.at(map.ticks[tick]);
    out += line_at(kLeft, y, kWidth - kRight, y, "grid");
    out += text_at(kLeft - 8, y + 4, "end", map.label(tick));
  }
  const double middle = (map.begin + map.end) / 2;
  absl::StrAppend(&out, "<text transform=\"translate(14 ", number(middle),
                  ") rotate(-90)\" text-anchor=\"middle\">", escape_html(axis_title(axis, map)),
                  "</text>\n");
  return out;
}

std::string dot(double x, double y, int color) {
  return absl::StrCat("<circle class=\"d", color, "\" cx=\"", number(x), "\" cy=\"", number(y),
                      "\" r=\"3\"/>\n");
}

std::string series_svg(const Series& series, const LineChart& chart, const Mapping& x,
                       const Mapping& y) {
  std::string lines;
  std::string dots;
  std::string path;
  size_t in_path = 0;
  ChartPoint last;
  const auto flush = [&] {
    if (in_path == 1) {
      // A lone point has no line: without a dot it could not be seen.
      dots += dot(last.x, last.y, series.color);
    } else if (in_path > 1) {
      absl::StrAppend(&lines, "<polyline class=\"s", series.color, series.dashed ? " dashed" : "",
                      "\" points=\"", path, "\"/>\n");
    }
    path.clear();
    in_path = 0;
  };
  for (const ChartPoint& point : series.points) {
    if (!drawable(point, chart)) {
      flush();
      continue;
    }
    last = {x.at(point.x / x.divisor), y.at(point.y / y.divisor)};
    absl::StrAppend(&path, in_path == 0 ? "" : " ", number(last.x), ",", number(last.y));
    ++in_path;
    if (series.markers) {
      dots += dot(last.x, last.y, series.color);
    }
  }
  flush();
  return lines + dots;
}

// The largest part of ten: 1, 2, 2.5, 5 or 10 times a power of ten, at least `raw`.
double round_step(double raw) {
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (raw <= factor * power * (1 + 1e-9)) {
      return factor * power;
    }
  }
  return 10 * power;
}

// The multiples of powers of ten that just cover [low, high], at least two.
std::vector<double> covering_ticks(const std::vector<double>& factors, double low, double high) {
  const int first = static_cast<int>(std::floor(std::log10(low))) - 1;
  const int last = static_cast<int>(std::ceil(std::log10(high))) + 1;
  std::vector<double> all;
  for (int power = first; power <= last; ++power) {
    for (const double factor : factors) {
      all.push_back(factor * std::pow(10.0, power));
    }
  }
  const auto begin = std::prev(std::upper_bound(all.begin() + 1, all.end(), low * (1 + 1e-9)));
  const auto end = std::lower_bound(begin + 1, all.end(), high * (1 - 1e-9));
  return {begin, std::next(end)};
}

std::string bytes_label(double value, double step) {
  constexpr std::array<const char*, 7> kUnits = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  size_t unit = 0;
  double scale = 1;
  while (unit + 1 < kUnits.size() && std::abs(value) >= 1000 * scale * (1 - 1e-9)) {
    scale *= 1000;
    ++unit;
  }
  return absl::StrCat(tick_label(value / scale, step / scale, Unit::kPlain), " ", kUnits[unit]);
}

std::string bar_svg(const StackedBar& bar, const Mapping& x, double y) {
  std::string out = text_at(kLeft + 24, y + kBarHeight / 2 + 4, "end", bar.label);
  double sum = 0;
  for (size_t part = 0; part < bar.values.size(); ++part) {
    const double value = std::isfinite(bar.values[part]) ? std::max(0.0, bar.values[part]) : 0;
    const double from = x.at(sum / x.divisor);
    sum += value;
    const double to = x.at(sum / x.divisor);
    if (to - from >= 0.05) {
      absl::StrAppend(&out, "<rect class=\"p", part, "\" x=\"", number(from), "\" y=\"", number(y),
                      "\" width=\"", number(to - from), "\" height=\"", kBarHeight, "\"/>\n");
    }
  }
  return out;
}

std::string no_data(double height, const std::string& description) {
  return absl::StrCat(open_svg(height, description),
                      text_at(kWidth / 2, height / 2, "middle", "no data"), "</svg>\n");
}

}  // namespace

std::vector<double> linear_ticks(double low, double high, int count) {
  if (high - low < 1e-12 * std::max(1.0, std::abs(high))) {
    // A flat curve gets room on both sides.
    const double room = high == 0 ? 1 : std::abs(high) * 0.5;
    low = high == 0 ? 0 : low - room;
    high += room;
  }
  const double step = round_step((high - low) / count);
  const double first = std::floor(low / step + 1e-9);
  const double last = std::ceil(high / step - 1e-9);
  std::vector<double> ticks(static_cast<size_t>(last - first) + 1);
  for (size_t i = 0; i < ticks.size(); ++i) {
    ticks[i] = (first + static_cast<double>(i)) * step;
  }
  return ticks;
}

std::vector<double> log_ticks(double low, double high) {
  std::vector<double> ticks = covering_ticks({1, 2, 5}, low, high);
  if (ticks.size() <= kLogTicksMax) {
    return ticks;
  }
  ticks = covering_ticks({1}, low, high);
  // Many decades: every second or third power keeps the labels apart.
  const size_t stride = (ticks.size() + kLogTicksMax - 1) / kLogTicksMax;
  if (stride == 1) {
    return ticks;
  }
  std::vector<double> thinned;
  for (size_t at = 0; at < ticks.size() + stride - 1; at += stride) {
    thinned.push_back(ticks.front() * std::pow(10.0, static_cast<double>(at)));
  }
  return thinned;
}

std::string tick_label(double value, double step, Unit unit) {
  if (unit == Unit::kBytes) {
    return bytes_label(value, step);
  }
  if (value == 0 || std::abs(value) < step * 1e-6) {
    return "0";
  }
  if (std::abs(value) >= 1e6 || std::abs(step) < 1e-5) {
    return absl::StrFormat("%.3g", value);
  }
  int decimals = 0;
  for (double scaled = std::abs(step); decimals < 5; ++decimals, scaled *= 10) {
    if (std::abs(scaled - std::round(scaled)) < 1e-6 * std::max(1.0, scaled)) {
      break;
    }
  }
  return absl::StrFormat("%.*f", decimals, value);
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char letter : text) {
    switch (letter) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += letter;
    }
  }
  return out;
}

std::string line_chart_svg(const LineChart& chart) {
  Range x_range;
  Range y_range;
  std::vector<LegendEntry> entries;
  for (const Series& series : chart.series) {
    for (const ChartPoint& point : series.points) {
      if (drawable(point, chart)) {
        x_range.add(point.x);
        y_range.add(point.y);
      }
    }
    if (!series.points.empty()) {
      entries.push_back(
          {.name = series.name,
           .swatch_class = absl::StrCat("s", series.color, series.dashed ? " dashed" : ""),
           .line = true});
    }
  }
  if (x_range.empty()) {
    return no_data(kHeight, chart.description);
  }
  const double bottom = kHeight - kBottom;
  const Mapping x = make_mapping(chart.x, x_range, kLeft, kWidth - kRight);
  const Mapping y = make_mapping(chart.y, y_range, bottom, kTop);
  std::string out = open_svg(kHeight, chart.description);
  out += legend(entries, kLeft);
  out += x_axis(chart.x, x, kTop, bottom);
  out += y_axis(chart.y, y);
  for (const Series& series : chart.series) {
    out += series_svg(series, chart, x, y);
  }
  return out + "</svg>\n";
}

std::string stacked_bars_svg(const StackedBars& chart) {
  Range range;
  for (const StackedBar& bar : chart.bars) {
    double sum = 0;
    for (const double value : bar.values) {
      sum += std::isfinite(value) ? std::max(0.0, value) : 0;
    }
    range.add(sum);
  }
  if (range.empty() || range.high <= 0) {
    return no_data(kHeight, chart.description);
  }
  const double bottom = kTop + kBarPitch * static_cast<double>(chart.bars.size());
  const double height = bottom + kBottom;
  Axis axis = chart.x;
  axis.from_zero = true;
  const Mapping x = make_mapping(axis, range, kLeft + 32, kWidth - kRight);
  std::vector<LegendEntry> entries;
  for (size_t part = 0; part < chart.parts.size(); ++part) {
    entries.push_back(
        {.name = chart.parts[part], .swatch_class = absl::StrCat("p", part), .line = false});
  }
  std::string out = open_svg(height, chart.description);
  out += legend(entries, kLeft);
  out += x_axis(axis, x, kTop, bottom);
  for (size_t at = 0; at < chart.bars.size(); ++at) {
    out += bar_svg(chart.bars[at], x, kTop + 6 + kBarPitch * static_cast<double>(at));
  }
  return out + "</svg>\n";
}

}  // namespace laconic::cli
