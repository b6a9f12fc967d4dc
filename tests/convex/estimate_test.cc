#include "common/convex/estimate.h"

#include <gtest/gtest.h>

#include "tests/collective/world.h"
#include "tests/testing/convex_problems.h"

namespace laconic::convex {
namespace {

using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::QuadraticProblem;
using ::laconic::testing::random_quadratic;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::laconic::testing::WorldKind;
using ::testing::HasSubstr;

using Estimate = std::function<absl::StatusOr<double>(collective::Communicator&, Objective&)>;

// What every rank of the problem is told.
std::vector<absl::StatusOr<double>> on_workers(
    int workers, const std::function<std::unique_ptr<Objective>(int)>& objective,
    const Estimate& estimate) {
  const Transports transports = WorldKind{false, workers}.make(1);
  std::vector<absl::StatusOr<double>> told(static_cast<size_t>(workers));
  on_all_ranks(workers, [&](int rank) {
    collective::Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
    const std::unique_ptr<Objective> own = objective(rank);
    told[static_cast<size_t>(rank)] = estimate(communicator, *own);
  });
  return told;
}

std::vector<absl::StatusOr<double>> on_problem(const QuadraticProblem& problem,
                                               const Estimate& estimate) {
  return on_workers(
      problem.workers(), [&](int rank) { return problem.objective(rank); }, estimate);
}

// f_m = slope x: nothing curves.
class Straight final : public Objective {
 public:
  explicit Straight(double slope) : slope_(slope) {}
  int64_t dimension() const override { return 1; }
  absl::Status gradient(std::span<const double> /*x*/, std::span<double> gradient) override {
    gradient[0] = slope_;
    return slope_ < 0 ? absl::DataLossError("no gradient here") : absl::OkStatus();
  }

 private:
  const double slope_;
};

TEST(EstimateTest, SmoothnessOfAllIsAboveTheTrueOneAndTheSameEverywhere) {
  for (const int workers : {1, 2, 3, 7}) {
    const QuadraticProblem problem = random_quadratic(30, workers, 0.01, 1, 0.05, 3);
    const auto told = on_problem(problem, [](auto& communicator, auto& objective) {
      return estimate_mean_smoothness(communicator, 0, objective, std::vector<double>(30), 1);
    });
    for (const absl::StatusOr<double>& value : told) {
      ASSERT_OK(value.status());
      EXPECT_EQ(*value, *told[0]);
      EXPECT_GE(*value, problem.smoothness());
      EXPECT_LE(*value, 1.5 * problem.smoothness());
    }
  }
}

// Source: similarity-methods 11.2: ten steps of power iteration find 95 % of a random matrix' norm.
TEST(EstimateTest, SimilarityOfTheAnchorIsWithinItsMargin) {
  for (const int workers : {2, 3, 7}) {
    const QuadraticProblem problem = random_quadratic(40, workers, 0.01, 1, 0.05, 5);
    testing::SymmetricMatrix gap = problem.worker(0).a;
    gap.add(-1, problem.mean());
    const double exact = gap.spectral_norm();
    const auto told = on_problem(problem, [](auto& communicator, auto& objective) {
      return estimate_similarity(communicator, 0, objective, std::vector<double>(40), 1e-9, 1);
    });
    for (const absl::StatusOr<double>& value : told) {
      ASSERT_OK(value.status());
      EXPECT_EQ(*value, *told[0]);
      EXPECT_GE(*value, 0.8 * exact);
      EXPECT_LE(*value, 1.12 * exact);
    }
  }
}

TEST(EstimateTest, AWorldOfOneIsAsSimilarAsTheLeastThatIsAllowed) {
  const auto told = on_problem(random_quadratic(5, 1, 0.1, 1, 0.05, 2), [](auto& c, auto& f) {
    return estimate_similarity(c, 0, f, std::vector<double>(5), 0.25, 1);
  });
  ASSERT_OK(told[0].status());
  EXPECT_EQ(*told[0], 0.25);
}

TEST(EstimateTest, RefusesAProblemThatDoesNotCurve) {
  const auto told = on_workers(
      2, [](int) { return std::make_unique<Straight>(2); },
      [](auto& communicator, auto& objective) {
        return estimate_mean_smoothness(communicator, 0, objective, std::vector<double>(1), 1);
      });
  for (const absl::StatusOr<double>& value : told) {
    EXPECT_THAT(value.status(), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("(L) is 0")));
  }
}

TEST(EstimateTest, PassesOnTheErrorOfAGradient) {
  for (const bool similarity : {false, true}) {
    const auto told = on_workers(
        1, [](int) { return std::make_unique<Straight>(-1); },
        [&](auto& communicator, auto& objective) {
          const std::vector<double> x(1);
          return similarity ? estimate_similarity(communicator, 0, objective, x, 1, 1)
                            : estimate_mean_smoothness(communicator, 0, objective, x, 1);
        });
    EXPECT_THAT(told[0].status(),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("no gradient here")));
  }
}

}  // namespace
}  // namespace laconic::convex
