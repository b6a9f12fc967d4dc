#include "common/core/random.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace laconic::core {
namespace {

TEST(RandomTest, SameSeedAndStreamGiveTheSameNumbers) {
  Random a(7, 3);
  Random b(7, 3);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(a(), b());
  }
}

TEST(RandomTest, SeedsAndStreamsGiveDifferentNumbers) {
  const uint64_t first = Random(7, 3)();
  EXPECT_NE(Random(8, 3)(), first);
  EXPECT_NE(Random(7, 4)(), first);
  EXPECT_NE(Random(3, 7)(), first);
}

TEST(RandomTest, BelowStaysBelowItsBoundAndReachesEveryNumber) {
  Random random(1);
  std::vector<int> seen(7);
  for (int i = 0; i < 1000; ++i) {
    ++seen.at(random.below(7));
  }
  EXPECT_GT(*std::min_element(seen.begin(), seen.end()), 0);
  EXPECT_EQ(random.below(1), 0u);
}

TEST(RandomTest, UniformIsInTheUnitIntervalWithMeanOneHalf) {
  constexpr int kDraws = 10'000;
  constexpr double kTolerance = 0.015;  // five standard errors of the mean, 0.289 / 100
  Random random(2);
  double sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = random.uniform();
    ASSERT_GE(x, 0.0);
    ASSERT_LT(x, 1.0);
    sum += x;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, kTolerance);
}

TEST(RandomTest, PermutationHoldsEveryIndexOnce) {
  for (const int64_t count : {0, 1, 2, 251}) {
    std::vector<int64_t> order = Random(5).permutation(count);
    EXPECT_EQ(order.size(), static_cast<size_t>(count));
    std::sort(order.begin(), order.end());
    for (size_t i = 0; i < order.size(); ++i) {
      ASSERT_EQ(order[i], static_cast<int64_t>(i));
    }
  }
}

}  // namespace
}  // namespace laconic::core
