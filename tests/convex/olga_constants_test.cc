// Theorems 1 and 2 and Corollaries 1 and 2 of Bylinkin, Beznosikov, AAAI 2025, with E4.
#include "common/convex/olga_constants.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace laconic::convex {
namespace {

constexpr OlgaProblem kProblem{
    .workers = 16, .convexity = 0.01, .similarity = 0.05, .gamma = 4, .omega = 4};

TEST(OlgaConstantsTest, TheoryIsCorollaryOne) {
  const OlgaConstants made = olga_theory(kProblem);
  EXPECT_DOUBLE_EQ(made.p, 0.25);
  EXPECT_DOUBLE_EQ(made.theta, std::sqrt(0.25 * 16) / (8 * 0.05 * 2));
  EXPECT_NEAR(made.tau, 0.0791, 5e-5);  // The reference's table in section 6.
  EXPECT_LE(4 * made.alpha * made.p * made.tau, made.theta);
}

TEST(OlgaConstantsTest, ErrorFeedbackTheoryIsCorollaryTwoWithItsRoot) {
  const OlgaConstants made = ef_olga_theory(kProblem);
  EXPECT_DOUBLE_EQ(made.theta, 0.125 / (24 * 0.05));
  EXPECT_NEAR(1 - made.tau, 0.99641, 5e-6);
  EXPECT_LE(28 * made.alpha * made.p * made.tau, made.theta * (1 + 1e-12));
}

TEST(OlgaConstantsTest, TheoryIsTheTunedOnesAtAnEighthWithAQuarterOfTau) {
  const OlgaConstants theory = olga_theory(kProblem);
  const OlgaConstants tuned = olga_tuned(kProblem, 0.125);
  EXPECT_DOUBLE_EQ(theory.theta, tuned.theta);
  EXPECT_DOUBLE_EQ(theory.tau, tuned.tau / 4);
}

// T6 and E1.
TEST(OlgaConstantsTest, GeometricRoundsHaveTheirMeanAndAtLeastOne) {
  constexpr int kDraws = 20000;
  double sum = 0;
  int64_t least = 1000;
  for (int64_t k = 0; k < kDraws; ++k) {
    const int64_t rounds = inner_rounds(0.1, /*geometric=*/true, 3, k);
    least = std::min(least, rounds);
    sum += static_cast<double>(rounds);
  }
  EXPECT_EQ(least, 1);
  EXPECT_NEAR(sum / kDraws, 10, 0.3);  // Four standard deviations.
  EXPECT_EQ(inner_rounds(1, true, 3, 0), 1);
}

TEST(OlgaConstantsTest, FixedRoundsAreTheRoundedMean) {
  EXPECT_EQ(inner_rounds(0.1, false, 3, 0), 10);
  EXPECT_EQ(inner_rounds(0.3, false, 3, 0), 3);
  EXPECT_EQ(inner_rounds(1, false, 3, 0), 1);
}

}  // namespace
}  // namespace laconic::convex
