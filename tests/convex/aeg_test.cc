// Kovalev et al., "Optimal gradient sliding", NeurIPS 2022, Algorithm 1.
#include "common/convex/aeg.h"

#include "tests/collective/world.h"
#include "tests/testing/convex_runs.h"

namespace laconic::convex {
namespace {

using ::laconic::testing::MakeMethod;
using ::laconic::testing::QuadraticProblem;
using ::laconic::testing::random_quadratic;
using ::laconic::testing::run_method;
using ::laconic::testing::RunResult;
using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

MakeMethod make_aeg(const AegOptions& options) {
  return [options](collective::Communicator& communicator, Objective& objective,
                   std::span<const double> start) -> absl::StatusOr<std::unique_ptr<Method>> {
    return Aeg::make(options, communicator, objective, start);
  };
}

AegOptions options_for(const QuadraticProblem& problem) {
  return {.convexity = problem.convexity(), .similarity = problem.similarity()};
}

// Reference 7.3, instance A: 78 vectors up with the theory's constants, two an iteration.
TEST(AegTest, ConvergesWithTheTheorysConstants) {
  const QuadraticProblem problem = random_quadratic(100, 25, 0.01, 1, 0.05, 1);
  const RunResult result = run_method(problem, make_aeg(options_for(problem)));
  ASSERT_OK(result.status);
  EXPECT_LE(result.gap, 1e-9);
  EXPECT_TRUE(result.identical);
  EXPECT_LE(result.iterations, 50);
  EXPECT_EQ(result.up(), 2.0 * result.iterations);
  EXPECT_EQ(result.down(), 2.0 * result.iterations);
}

TEST(AegTest, OneWorkerSendsNothing) {
  const QuadraticProblem problem = random_quadratic(20, 1, 0.1, 1, 0, 5);
  AegOptions options = options_for(problem);
  options.similarity = 0.05;
  const RunResult result = run_method(problem, make_aeg(options));
  ASSERT_OK(result.status);
  EXPECT_LE(result.gap, 1e-9);
  EXPECT_EQ(result.worker.up_bytes, 0);
}

TEST(AegTest, RestoredStateGoesOnBitForBit) {
  const QuadraticProblem problem = random_quadratic(40, 3, 0.01, 1, 0.05, 5);
  const MakeMethod make = make_aeg(options_for(problem));
  const std::vector<double> at_once =
      run_method(problem, make, {.iterations_max = 6, .gap = -1}).solution;
  std::vector<std::vector<double>> saved;
  run_method(problem, make, {.iterations_max = 2, .gap = -1, .saved = &saved});
  EXPECT_EQ(run_method(problem, make, {.iterations_max = 4, .gap = -1, .saved = &saved}).solution,
            at_once);
}

TEST(AegTest, RefusesConstantsOutsideTheirRanges) {
  const QuadraticProblem problem = random_quadratic(10, 2, 0.1, 1, 0.05, 5);
  AegOptions options = options_for(problem);
  options.convexity = 0;
  EXPECT_THAT(run_method(problem, make_aeg(options)).status,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("convexity (mu) is 0")));
  options = options_for(problem);
  options.anchor = 2;
  EXPECT_THAT(run_method(problem, make_aeg(options)).status,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("anchor is 2")));
}

}  // namespace
}  // namespace laconic::convex
