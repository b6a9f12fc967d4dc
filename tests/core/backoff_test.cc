#include "common/core/backoff.h"

#include <gtest/gtest.h>

#include <vector>

namespace laconic::core {
namespace {

std::vector<absl::Duration> waits(uint64_t seed, int count) {
  Backoff backoff({}, seed);
  std::vector<absl::Duration> result;
  for (int i = 0; i < count; ++i) {
    result.push_back(backoff.next());
  }
  return result;
}

TEST(BackoffTest, WaitsGrowTwofoldUpToTheLongest) {
  Backoff backoff({}, /*seed=*/1);
  absl::Duration upper = absl::Milliseconds(200);
  for (int i = 0; i < 20; ++i) {
    const absl::Duration wait = backoff.next();
    EXPECT_GE(wait, upper / 2) << "attempt " << i;
    EXPECT_LE(wait, upper) << "attempt " << i;
    upper = std::min(absl::Seconds(5), upper * 2);
  }
}

TEST(BackoffTest, ResetStartsFromTheFirstWaitAgain) {
  Backoff backoff({}, /*seed=*/1);
  for (int i = 0; i < 10; ++i) {
    backoff.next();
  }
  backoff.reset();
  EXPECT_LE(backoff.next(), absl::Milliseconds(200));
}

TEST(BackoffTest, SeedsDoNotWaitInStep) {
  EXPECT_NE(waits(1, 5), waits(2, 5));
  EXPECT_EQ(waits(3, 5), waits(3, 5));
}

TEST(BackoffTest, FirstWaitAboveTheLongestIsCutFromTheSecondOn) {
  Backoff backoff({.first = absl::Seconds(9), .longest = absl::Seconds(1)}, /*seed=*/1);
  EXPECT_GE(backoff.next(), absl::Seconds(4.5));
  EXPECT_LE(backoff.next(), absl::Seconds(1));
}

}  // namespace
}  // namespace laconic::core
