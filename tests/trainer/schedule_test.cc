#include "worker/trainer/schedule.h"

#include <gtest/gtest.h>

namespace laconic::trainer {
namespace {

TEST(ScheduleTest, IsConstantWithoutWarmupAndDecay) {
  const CosineSchedule schedule{.steps = 10, .warmup_steps = 0, .final_ratio = 1};
  for (int64_t step = 0; step < 10; ++step) {
    EXPECT_DOUBLE_EQ(learning_rate_factor(schedule, step), 1);
  }
}

TEST(ScheduleTest, RisesLinearlyToOneDuringWarmup) {
  const CosineSchedule schedule{.steps = 100, .warmup_steps = 4, .final_ratio = 0.1};
  EXPECT_DOUBLE_EQ(learning_rate_factor(schedule, 0), 0.25);
  EXPECT_DOUBLE_EQ(learning_rate_factor(schedule, 3), 1);
  EXPECT_DOUBLE_EQ(learning_rate_factor(schedule, 4), 1);
}

TEST(ScheduleTest, FallsToTheMiddleHalfwayAndNearsTheFinalRatio) {
  const CosineSchedule schedule{.steps = 1050, .warmup_steps = 50, .final_ratio = 0.1};
  EXPECT_NEAR(learning_rate_factor(schedule, 550), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate_factor(schedule, 1049), 0.1, 1e-5);
}

TEST(ScheduleTest, StaysFiniteWhenWarmupOutlastsTheRun) {
  const CosineSchedule schedule{.steps = 5, .warmup_steps = 10, .final_ratio = 0};
  EXPECT_DOUBLE_EQ(learning_rate_factor(schedule, 4), 0.5);
}

}  // namespace
}  // namespace laconic::trainer
