#include "common/convex/prox.h"

#include <gtest/gtest.h>

#include <limits>

#include "common/core/vector_math.h"
#include "tests/testing/convex_problems.h"
#include "tests/testing/status_matchers.h"

namespace laconic::convex {
namespace {

using ::laconic::testing::QuadraticProblem;
using ::laconic::testing::random_quadratic;
using ::laconic::testing::StatusIs;

constexpr size_t kD = 30;

class ProxTest : public ::testing::Test {
 protected:
  absl::StatusOr<ProxResult> solve(const ProxProblem& problem) {
    return minimize_prox(*objective_, problem, smoothness_, v_, gradient_);
  }

  const QuadraticProblem problem_ = random_quadratic(kD, 1, 0.1, 1, 0, 3);
  const std::unique_ptr<Objective> objective_ = problem_.objective(0);
  const std::vector<double> shift_ = std::vector<double>(kD, 0.5);
  const std::vector<double> center_ = std::vector<double>(kD, 1.0);
  double smoothness_ = 1;
  std::vector<double> v_ = std::vector<double>(kD);
  std::vector<double> gradient_ = std::vector<double>(kD);
};

// T4 of the reference: |grad f_1(v) + t + (v - x)/theta| <= tol |v - x|/theta.
TEST_F(ProxTest, StopsWhereTheOptimalityConditionHolds) {
  for (const double tolerance : {1.0, 0.25, 0.1, 1e-3, 1e-8}) {
    const double theta = 2;
    ASSERT_OK(solve({.shift = shift_,
                     .center = center_,
                     .theta = theta,
                     .convexity = 1 / theta,
                     .tolerance = tolerance})
                  .status());
    std::vector<double> slope(kD);
    ASSERT_OK(objective_->gradient(v_, slope));
    EXPECT_EQ(slope, gradient_);  // What it returns is taken at v.
    for (size_t i = 0; i < kD; ++i) {
      slope[i] += shift_[i] + (v_[i] - center_[i]) / theta;
    }
    EXPECT_LE(core::norm(slope), tolerance * core::distance(v_, center_) / theta);
  }
}

TEST_F(ProxTest, RaisesASmoothnessThatWasTakenTooSmall) {
  smoothness_ = 1e-3;
  const auto result = solve({.shift = shift_, .center = center_, .theta = 2, .convexity = 0.5});
  ASSERT_OK(result.status());
  EXPECT_TRUE(result->converged);
  EXPECT_GT(smoothness_, 0.1);
}

TEST_F(ProxTest, SeesThatTheSubproblemIsNotConvex) {
  const QuadraticProblem two = random_quadratic(kD, 2, 0.01, 1, 0.5, 3);
  ASSERT_LT(two.worker(0).a.eigenvalues().front(), -0.1);
  const auto objective = two.objective(0);
  const auto result = minimize_prox(
      *objective, {.shift = shift_, .center = center_, .theta = 1e3, .convexity = 0.01},
      smoothness_, v_, gradient_);
  ASSERT_OK(result.status());
  EXPECT_FALSE(result->convex);
}

class BrokenObjective final : public Objective {
 public:
  int64_t dimension() const override { return kD; }
  absl::Status gradient(std::span<const double>, std::span<double> gradient) override {
    gradient[0] = std::numeric_limits<double>::quiet_NaN();
    return absl::OkStatus();
  }
};

TEST_F(ProxTest, RefusesAGradientThatIsNotFinite) {
  BrokenObjective broken;
  EXPECT_THAT(minimize_prox(broken, {.shift = shift_, .center = center_, .convexity = 1},
                            smoothness_, v_, gradient_)
                  .status(),
              StatusIs(absl::StatusCode::kOutOfRange, ::testing::HasSubstr("not finite")));
}

TEST_F(ProxTest, SmoothnessEstimateIsWithinItsPromise) {
  const double exact = problem_.smoothness();
  const auto estimate = estimate_smoothness(*objective_, center_, 20, 5);
  ASSERT_OK(estimate.status());
  EXPECT_LE(*estimate, exact * 1.0001);
  EXPECT_GE(*estimate, exact * 0.9);
}

}  // namespace
}  // namespace laconic::convex
