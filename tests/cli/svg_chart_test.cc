#include "cli/svg_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace laconic::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

LineChart chart_of(std::vector<ChartPoint> points, Scale scale = Scale::kLinear) {
  return {.description = "test",
          .x = {.label = "x", .scale = scale},
          .y = {.label = "y"},
          .series = {{.name = "a", .points = std::move(points)}}};
}

TEST(TicksTest, LinearOnesAreRoundAndCoverTheRange) {
  EXPECT_THAT(linear_ticks(0, 98, 5), ElementsAre(0, 20, 40, 60, 80, 100));
  EXPECT_THAT(linear_ticks(0.3, 2.1, 5), ElementsAre(0, 0.5, 1, 1.5, 2, 2.5));
  EXPECT_THAT(linear_ticks(-3, 3, 3), ElementsAre(-4, -2, 0, 2, 4));
}

TEST(TicksTest, FlatRangeGetsRoom) {
  for (const double value : {0.0, 1.0, -7.0, 1e9}) {
    const std::vector<double> ticks = linear_ticks(value, value, 5);
    EXPECT_LT(ticks.front(), ticks.back());
    EXPECT_LE(ticks.front(), value);
    EXPECT_GE(ticks.back(), value);
  }
}

TEST(TicksTest, LogOnesCoverTheRangeWithAtMostAHandful) {
  const std::vector<std::pair<double, double>> ranges = {
      {1, 1}, {3, 4}, {1.59e5, 8.1e7}, {1e-3, 1e12}, {9.99, 10.01}, {7e18, 8e18}, {1e5, 1e6}};
  for (const auto& [low, high] : ranges) {
    const std::vector<double> ticks = log_ticks(low, high);
    ASSERT_GE(ticks.size(), 2U) << low;
    EXPECT_LE(ticks.size(), 9U) << low;
    EXPECT_LE(ticks.front(), low * (1 + 1e-6)) << low;
    EXPECT_GE(ticks.back(), high * (1 - 1e-6)) << high;
    EXPECT_GT(ticks.front(), low / 1001) << low;
    EXPECT_LT(ticks.back(), high * 1001) << high;
  }
}

TEST(TickLabelTest, ShowsAsManyDecimalsAsTheStepNeeds) {
  EXPECT_EQ(tick_label(0.5, 0.25, Unit::kPlain), "0.50");
  EXPECT_EQ(tick_label(20, 20, Unit::kPlain), "20");
  EXPECT_EQ(tick_label(0, 0.1, Unit::kPlain), "0");
  EXPECT_EQ(tick_label(2e6, 2e6, Unit::kBytes), "2 MB");
  EXPECT_EQ(tick_label(1000, 1000, Unit::kBytes), "1 kB");
  EXPECT_EQ(tick_label(2500, 500, Unit::kBytes), "2.5 kB");
}

TEST(LineChartTest, OnePointIsADot) {
  const std::string svg = line_chart_svg(chart_of({{1, 2}}));
  EXPECT_THAT(svg, HasSubstr("<circle"));
  EXPECT_THAT(svg, Not(HasSubstr("<polyline")));
}

TEST(LineChartTest, PointThatCannotBeDrawnBreaksTheLine) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string svg = line_chart_svg(chart_of({{0, 1}, {1, 2}, {2, nan}, {3, 2}, {4, 1}}));
  EXPECT_NE(svg.find("<polyline"), svg.rfind("<polyline"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(LineChartTest, LogAxisLeavesOutZeroAndBelow) {
  EXPECT_THAT(line_chart_svg(chart_of({{0, 1}, {-5, 2}}, Scale::kLog)), HasSubstr("no data"));
  EXPECT_THAT(line_chart_svg(chart_of({{0, 1}, {10, 2}}, Scale::kLog)), HasSubstr("<circle"));
}

TEST(LineChartTest, LongRunsAreShownInHours) {
  LineChart chart = chart_of({{0, 1}, {36000, 2}});
  chart.x = {.label = "time", .unit = Unit::kSeconds};
  EXPECT_THAT(line_chart_svg(chart), HasSubstr(">time (h)<"));
}

TEST(StackedBarsTest, NothingToShowSaysSo) {
  StackedBars chart;
  chart.description = "t";
  chart.parts = {"a"};
  EXPECT_THAT(stacked_bars_svg(chart), HasSubstr("no data"));
  chart.bars = {{.label = "0", .values = {0}}};
  EXPECT_THAT(stacked_bars_svg(chart), HasSubstr("no data"));
}

TEST(EscapeTest, LeavesNothingThatOpensATagOrEndsAnAttribute) {
  EXPECT_EQ(escape_html("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
}

}  // namespace
}  // namespace laconic::cli
