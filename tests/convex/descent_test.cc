#include "common/convex/descent.h"

#include <cmath>

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

constexpr int kDimension = 40;

const QuadraticProblem& problem() {
  static const auto* made = new QuadraticProblem(random_quadratic(kDimension, 5, 0.05, 1, 0.05, 3));
  return *made;
}

core::CodecSpec rand_k(double density) {
  return {.kind = core::CodecKind::kRandK, .density = density, .scaled = true};
}
core::CodecSpec top_k(double density) {
  return {.kind = core::CodecKind::kTopK, .bits = 32, .density = density};
}

MakeMethod make_descent(const DescentOptions& options) {
  return [options](collective::Communicator& communicator, Objective& objective,
                   std::span<const double> start) -> absl::StatusOr<std::unique_ptr<Method>> {
    return Descent::make(options, communicator, objective, start);
  };
}

// Step sizes of the papers, or the nearest that converge here.
DescentOptions options_for(DescentKind kind) {
  DescentOptions options{.kind = kind, .step = 1 / problem().smoothness(), .seed = 5};
  switch (kind) {
    case DescentKind::kGd:
      break;
    case DescentKind::kAgd: {
      const double root = std::sqrt(problem().smoothness() / problem().convexity());
      options.momentum = (root - 1) / (root + 1);
      break;
    }
    case DescentKind::kDiana:
    case DescentKind::kMarina:
      options.codec = rand_k(0.25);
      options.step /= 3;
      break;
    case DescentKind::kEf21:
      options.codec = top_k(0.25);
      options.step /= 2;
      break;
    case DescentKind::kLaq:
      options.codec = {.kind = core::CodecKind::kQuantize, .bits = 8, .block = 256};
      break;
  }
  return options;
}

class DescentTest : public ::testing::TestWithParam<DescentKind> {};

TEST_P(DescentTest, ConvergesWithEqualBitsOnAllRanks) {
  const RunResult result = run_method(problem(), make_descent(options_for(GetParam())));
  ASSERT_OK(result.status);
  EXPECT_LE(result.gap, 1e-9);
  EXPECT_TRUE(result.identical);
}

TEST_P(DescentTest, RestoredStateGoesOnBitForBit) {
  const MakeMethod make = make_descent(options_for(GetParam()));
  const std::vector<double> at_once =
      run_method(problem(), make, {.iterations_max = 40, .gap = -1}).solution;
  std::vector<std::vector<double>> saved;
  run_method(problem(), make, {.iterations_max = 15, .gap = -1, .saved = &saved});
  EXPECT_EQ(
      run_method(problem(), make, {.iterations_max = 25, .gap = -1, .saved = &saved}).solution,
      at_once);
}

INSTANTIATE_TEST_SUITE_P(Kinds, DescentTest,
                         ::testing::Values(DescentKind::kGd, DescentKind::kAgd, DescentKind::kDiana,
                                           DescentKind::kEf21, DescentKind::kMarina,
                                           DescentKind::kLaq));

TEST(DescentTest, AccelerationSavesIterations) {
  const RunResult plain = run_method(problem(), make_descent(options_for(DescentKind::kGd)));
  const RunResult fast = run_method(problem(), make_descent(options_for(DescentKind::kAgd)));
  EXPECT_LT(2 * fast.iterations, plain.iterations);
  EXPECT_EQ(plain.up(), plain.iterations);
}

TEST(DescentTest, CompressedDifferencesSendLessThanGradients) {
  const RunResult plain = run_method(problem(), make_descent(options_for(DescentKind::kGd)));
  const RunResult ef21 = run_method(problem(), make_descent(options_for(DescentKind::kEf21)));
  EXPECT_LT(ef21.worker.up_bytes, plain.worker.up_bytes);
}

TEST(DescentTest, LazyWorkersStaySilentWithoutManyMoreIterations) {
  const RunResult plain = run_method(problem(), make_descent(options_for(DescentKind::kGd)));
  const RunResult lazy = run_method(problem(), make_descent(options_for(DescentKind::kLaq)));
  EXPECT_GE(lazy.worker.skipped_messages, lazy.iterations / 5);
  EXPECT_LE(lazy.iterations, 2 * plain.iterations);
  EXPECT_LT(lazy.worker.up_bytes, plain.worker.up_bytes / 3);
}

TEST(DescentTest, SaysThatItDivergedWhereStepsAreTooLong) {
  DescentOptions options = options_for(DescentKind::kGd);
  options.step *= 1e9;
  EXPECT_FALSE(run_method(problem(), make_descent(options)).status.ok());
}

TEST(DescentTest, RefusesWhatItCannotRun) {
  const auto refused = [](const DescentOptions& options, const char* text) {
    EXPECT_THAT(run_method(problem(), make_descent(options)).status,
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  };
  refused({.step = 0}, "step is 0");
  refused({.step = 1, .momentum = 1}, "momentum is 1");
  refused({.step = 1, .lazy = -1}, "lazy is -1");
  refused({.anchor = 5, .step = 1}, "anchor is 5");
  refused({.kind = DescentKind::kGd, .step = 1, .codec = top_k(0.5)}, "gd and agd send gradients");
  refused({.kind = DescentKind::kDiana, .step = 1, .codec = top_k(0.5)}, "need an unbiased codec");
}

}  // namespace
}  // namespace laconic::convex
