#include "common/core/round_schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace laconic::core {
namespace {

using ::testing::ElementsAre;

std::vector<int64_t> ends(const RoundSchedule& schedule) {
  std::vector<int64_t> result;
  for (int64_t step = 0; step <= schedule.steps; ++step) {
    if (ends_round(schedule, step)) {
      result.push_back(step);
    }
  }
  return result;
}

TEST(RoundScheduleTest, EveryMultipleOfInnerStepsAndTheLastStepEndARound) {
  EXPECT_THAT(ends({.steps = 10, .inner_steps = 4}), ElementsAre(4, 8, 10));
  EXPECT_THAT(ends({.steps = 8, .inner_steps = 4}), ElementsAre(4, 8));
  EXPECT_THAT(ends({.steps = 3, .inner_steps = 100}), ElementsAre(3));
  EXPECT_THAT(ends({.steps = 1, .inner_steps = 1}), ElementsAre(1));
}

TEST(RoundScheduleTest, RoundsAreSpreadEvenlyOverTheSteps) {
  EXPECT_THAT(ends({.steps = 100, .rounds = 4}), ElementsAre(25, 50, 75, 100));
  EXPECT_THAT(ends({.steps = 10, .rounds = 3}), ElementsAre(3, 7, 10));
  EXPECT_THAT(ends({.steps = 10, .rounds = 1}), ElementsAre(10));
}

TEST(RoundScheduleTest, GrowthMakesEarlyRoundsShortAndLateOnesLong) {
  EXPECT_THAT(ends({.steps = 100, .rounds = 4, .growth = 2}), ElementsAre(6, 25, 56, 100));
  EXPECT_THAT(ends({.steps = 100, .rounds = 4, .growth = 0.5}), ElementsAre(50, 71, 87, 100));
}

// The closed form finds the same steps as going through all rounds.
TEST(RoundScheduleTest, EndsAreThoseOfTheFormulaForAnyStepsRoundsAndGrowth) {
  for (const int64_t steps : {1, 2, 7, 64, 1000, 1009}) {
    for (const int64_t rounds : {1, 2, 3, 16, 63, 64, 1000}) {
      for (const double growth : {0.25, 0.5, 1.0, 1.5, 2.0, 4.0}) {
        if (rounds > steps) {
          continue;
        }
        std::set<int64_t> expected;
        for (int64_t k = 1; k <= rounds; ++k) {
          const double part = static_cast<double>(k) / static_cast<double>(rounds);
          expected.insert(std::max<int64_t>(
              1, std::llround(static_cast<double>(steps) * std::pow(part, growth))));
        }
        const RoundSchedule schedule = {.steps = steps, .rounds = rounds, .growth = growth};
        ASSERT_EQ(ends(schedule), std::vector<int64_t>(expected.begin(), expected.end()))
            << steps << " steps, " << rounds << " rounds, growth " << growth;
        ASSERT_EQ(round_count(schedule), static_cast<int64_t>(expected.size()));
      }
    }
  }
}

TEST(RoundScheduleTest, StepsOfRoundsIsTheStepThatTheLastOfThemEndsAt) {
  for (const RoundSchedule& schedule :
       {RoundSchedule{.steps = 10, .inner_steps = 4}, RoundSchedule{.steps = 10, .inner_steps = 64},
        RoundSchedule{.steps = 100, .rounds = 7, .growth = 2},
        RoundSchedule{.steps = 9, .rounds = 9, .growth = 4}}) {
    const std::vector<int64_t> expected = ends(schedule);
    EXPECT_EQ(steps_of_rounds(schedule, 0), 0);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(steps_of_rounds(schedule, static_cast<int64_t>(i) + 1), expected[i]);
    }
    EXPECT_EQ(steps_of_rounds(schedule, 1000), schedule.steps);
  }
}

TEST(RoundScheduleTest, LongestRoundIsCounted) {
  EXPECT_EQ(longest_round({.steps = 100, .inner_steps = 32}), 32);
  EXPECT_EQ(longest_round({.steps = 10, .inner_steps = 32}), 10);
  EXPECT_EQ(longest_round({.steps = 100, .rounds = 4, .growth = 2}), 44);
  EXPECT_EQ(round_count({.steps = 10, .inner_steps = 4}), 3);
  EXPECT_EQ(round_count({.steps = 0, .inner_steps = 4}), 1);
}

}  // namespace
}  // namespace laconic::core
