// T1 to T12 of the reference for OLGA and EF-OLGA: Bylinkin, Beznosikov, AAAI 2025,
// arXiv 2412.16414, with the errata of docs/algorithms.md.
#include "common/convex/olga.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "common/convex/aeg.h"
#include "common/core/vector_math.h"
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

// Instance A of the reference, 7.3.
const QuadraticProblem& instance_a() {
  static const auto* problem =
      new QuadraticProblem(random_quadratic(100, 25, 0.01, 1, 0.05, /*seed=*/1));
  return *problem;
}

core::CodecSpec rand_k(const QuadraticProblem& problem, int kept) {
  return {.kind = core::CodecKind::kRandK,
          .density = static_cast<double>(kept) / static_cast<double>(problem.dimension()),
          .scaled = true};
}
core::CodecSpec top_k(const QuadraticProblem& problem, int kept) {
  return {.kind = core::CodecKind::kTopK,
          .bits = 32,
          .density = static_cast<double>(kept) / static_cast<double>(problem.dimension())};
}
core::CodecSpec bits(int count) {
  return {.kind = core::CodecKind::kQuantize, .bits = count, .block = 65536};
}

OlgaOptions options_for(const QuadraticProblem& problem) {
  return {.convexity = problem.convexity(), .similarity = problem.similarity(), .seed = 7};
}

MakeMethod make_olga(const OlgaOptions& options) {
  return [options](collective::Communicator& communicator, Objective& objective,
                   std::span<const double> start) -> absl::StatusOr<std::unique_ptr<Method>> {
    return Olga::make(options, communicator, objective, start);
  };
}

OlgaOptions tuned(const QuadraticProblem& problem, int kept) {
  OlgaOptions options = options_for(problem);
  options.inner = rand_k(problem, kept);
  return options;
}

// T1
TEST(OlgaTest, StaysAtTheSolution) {
  const QuadraticProblem problem = random_quadratic(30, 5, 0.05, 1, 0.05, 3);
  laconic::testing::RunOptions run{.iterations_max = 3, .gap = -1};
  run.start.assign(problem.solution().begin(), problem.solution().end());
  const RunResult result = run_method(problem, make_olga(tuned(problem, 6)), run);
  ASSERT_OK(result.status);
  // Float32 messages round; the state moves by no more than that.
  EXPECT_LE(core::distance(result.solution, problem.solution()),
            1e-5 * core::norm(problem.solution()));
}

// T2 and T4: with exact messages and an exact subproblem the method is deterministic gradient
// sliding, and needs as many iterations whatever the seed.
TEST(OlgaTest, ExactMessagesMakeTheSeedIrrelevant) {
  const QuadraticProblem& problem = instance_a();
  OlgaOptions options = options_for(problem);
  options.tolerance = 1e-6;
  options.smoothness = problem.worker_smoothness(0);  // Else its estimate starts from the seed.
  const RunResult first = run_method(problem, make_olga(options));
  options.seed = 8;
  const RunResult second = run_method(problem, make_olga(options));
  ASSERT_OK(first.status);
  EXPECT_LE(first.gap, 1e-9);
  EXPECT_EQ(first.solution, second.solution);
}

// T8: uplink = outer 2 d + inner K values, less the first inner round of each iteration, in which
// every difference is 0 and nothing is sent.
TEST(OlgaTest, UplinkIsTwoGradientsAndKeptValuesPerInnerRound) {
  const QuadraticProblem& problem = instance_a();
  const RunResult result =
      run_method(problem, make_olga(tuned(problem, 10)), {.iterations_max = 5, .gap = -1});
  ASSERT_OK(result.status);
  const int64_t seed_bytes = 8;
  EXPECT_EQ(result.report.inner_rounds, 10);
  EXPECT_EQ(result.worker.up_bytes, 5 * (2 * 400 + 9 * (10 * 4 + seed_bytes)));
  EXPECT_EQ(result.worker.up_messages, 5 * (2 + 9));
  // x0, 10 steps and 9 differences of grad f_1.
  EXPECT_EQ(result.worker.down_bytes, 5 * (1 + 10 + 9) * 400);
}

// T9: with delta five times mu the f_m are not convex, that of the anchor included.
TEST(OlgaTest, ConvergesThoughNoWorkerIsConvex) {
  const QuadraticProblem& problem = instance_a();
  EXPECT_LT(problem.worker(0).a.eigenvalues().front(), 0);
  const RunResult result = run_method(problem, make_olga(tuned(problem, 10)));
  ASSERT_OK(result.status);
  EXPECT_LE(result.gap, 1e-9);
  EXPECT_TRUE(result.identical);
}

// T10
TEST(OlgaTest, FixedInnerRoundsNeedFewIterations) {
  const QuadraticProblem& problem = instance_a();
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    OlgaOptions options = tuned(problem, 10);
    options.seed = seed;
    const RunResult fixed = run_method(problem, make_olga(options));
    EXPECT_LE(fixed.iterations, 13) << "seed " << seed;
    options.geometric = true;
    EXPECT_LE(run_method(problem, make_olga(options)).iterations, 20) << "seed " << seed;
  }
}

// T10, second half: with steps four times too long the guard must act.
TEST(OlgaTest, DivergenceGuardActsWhereStepsAreTooLong) {
  const QuadraticProblem& problem = instance_a();
  for (const int kept : {20, 50}) {
    OlgaOptions options = tuned(problem, kept);
    options.scale = 4;
    const RunResult result =
        run_method(problem, make_olga(options), {.iterations_max = 200, .gap = 1e-6});
    ASSERT_OK(result.status);
    EXPECT_GE(result.report.divergence_guards, 1) << kept;
    EXPECT_LE(result.gap, 1e-6) << kept;
  }
}

// T11
TEST(OlgaTest, DownlinkOfEightAndFourBitsCostsNoIterationsTwoBitsDo) {
  const QuadraticProblem& problem = instance_a();
  const auto iterations = [&](int count) {
    OlgaOptions options = tuned(problem, 10);
    if (count > 0) {
      options.downlink = bits(count);
    }
    const RunResult result = run_method(problem, make_olga(options));
    EXPECT_LE(result.gap, 1e-9) << count;
    EXPECT_TRUE(result.identical) << count;
    return result.iterations;
  };
  const int dense = iterations(0);
  EXPECT_NEAR(iterations(8), dense, 1);
  EXPECT_NEAR(iterations(4), dense, 2);
  EXPECT_GT(iterations(2), dense + 3);
}

// T12
TEST(OlgaTest, SameSeedGivesTheSameBits) {
  const QuadraticProblem problem = random_quadratic(40, 7, 0.01, 1, 0.05, 5);
  OlgaOptions options = tuned(problem, 4);
  options.downlink = bits(4);
  options.gather = bits(4);
  const laconic::testing::RunOptions run{.iterations_max = 4, .gap = -1};
  const RunResult first = run_method(problem, make_olga(options), run);
  const RunResult second = run_method(problem, make_olga(options), run);
  ASSERT_OK(first.status);
  EXPECT_EQ(first.solution, second.solution);
  EXPECT_TRUE(first.identical);
}

TEST(OlgaTest, SameBitsOverGrpc) {
  const QuadraticProblem problem = random_quadratic(40, 3, 0.01, 1, 0.05, 5);
  laconic::testing::RunOptions run{.iterations_max = 3, .gap = -1};
  const RunResult in_process = run_method(problem, make_olga(tuned(problem, 4)), run);
  laconic::testing::Transports transports = laconic::testing::grpc_world(3, /*generation=*/1);
  run.transports = &transports;
  const RunResult grpc = run_method(problem, make_olga(tuned(problem, 4)), run);
  ASSERT_OK(grpc.status);
  EXPECT_EQ(in_process.solution, grpc.solution);
  EXPECT_EQ(in_process.frame_bytes, grpc.frame_bytes);
}

TEST(OlgaTest, OneWorkerSolvesItsOwnProblem) {
  const QuadraticProblem problem = random_quadratic(20, 1, 0.1, 1, 0, 5);
  OlgaOptions options = options_for(problem);
  options.similarity = 0.05;  // There is nobody to differ from; theta stays finite.
  const RunResult result = run_method(problem, make_olga(options));
  ASSERT_OK(result.status);
  EXPECT_LE(result.gap, 1e-9);
  EXPECT_EQ(result.worker.up_bytes, 0);
}

// T7, Theorem 1 and Corollary 1: averaged over 20 seeds, with the theory's constants and geometric
// N, (Y + Z) falls by 1 - tau at every step. Rows of the reference's table in section 6.
struct TheoryRow {
  int64_t d;
  int workers;
  int kept;
  double mu;
  double delta;
};
class OlgaTheoryTest : public ::testing::TestWithParam<TheoryRow> {};

// Y_k + Z_k of Theorem 1 for one seed, k = 0 .. iterations.
std::vector<double> lyapunov(const QuadraticProblem& problem, const OlgaOptions& options,
                             int iterations) {
  OlgaProblem shape{.workers = problem.workers(),
                    .convexity = options.convexity,
                    .similarity = options.similarity,
                    .gamma = 1 / options.inner.density,
                    .omega = 1 / options.inner.density};
  const OlgaConstants constants =
      options.error_feedback ? ef_olga_theory(shape) : olga_theory(shape);
  const auto value = [&](std::span<const double> y, std::span<const double> z) {
    const double off = core::distance(z, problem.solution());
    return constants.alpha / constants.tau * problem.excess(y) +
           (1 + options.convexity * constants.alpha) / 2 * off * off;
  };
  const std::vector<double> zero(static_cast<size_t>(problem.dimension()));
  std::vector<double> values = {value(zero, zero)};
  const RunResult result =
      run_method(problem, make_olga(options),
                 {.iterations_max = iterations, .gap = -1, .observe = [&](Method& method) {
                    values.push_back(
                        value(method.solution(), dynamic_cast<Olga&>(method).momentum_sequence()));
                  }});
  EXPECT_OK(result.status);
  return values;
}

TEST_P(OlgaTheoryTest, LyapunovFunctionFallsAtEveryStepInTheMean) {
  const TheoryRow row = GetParam();
  const QuadraticProblem problem =
      random_quadratic(row.d, row.workers, row.mu, 1, row.delta, /*seed=*/11);
  OlgaOptions options = tuned(problem, row.kept);
  options.theory = true;
  options.geometric = true;
  options.tolerance = 1e-3;
  constexpr int kSeeds = 20;
  constexpr int kIterations = 20;
  std::vector<double> mean(kIterations + 1);
  for (int seed = 1; seed <= kSeeds; ++seed) {
    options.seed = static_cast<uint64_t>(seed);
    const std::vector<double> one = lyapunov(problem, options, kIterations);
    ASSERT_EQ(one.size(), mean.size());
    std::transform(one.begin(), one.end(), mean.begin(), mean.begin(),
                   [](double value, double sum) { return sum + value / kSeeds; });
  }
  const double tau = olga_theory({.workers = row.workers,
                                  .convexity = options.convexity,
                                  .similarity = options.similarity,
                                  .gamma = 1 / options.inner.density,
                                  .omega = 1 / options.inner.density})
                         .tau;
  for (size_t k = 0; k < kIterations; ++k) {
    EXPECT_LE(mean[k + 1], (1 - tau) * mean[k]) << "step " << k;
  }
}

INSTANTIATE_TEST_SUITE_P(ReferenceSection6, OlgaTheoryTest,
                         ::testing::Values(TheoryRow{40, 16, 10, 0.01, 0.05},
                                           TheoryRow{40, 16, 10, 0.001, 0.1},
                                           TheoryRow{60, 36, 10, 0.01, 0.1},
                                           TheoryRow{40, 4, 8, 0.01, 0.05}));

// Theorem 2 with E4, for top-k. Its tau is 20 times smaller than OLGA's.
TEST(EfOlgaTest, LyapunovFunctionFallsAtEveryStep) {
  const QuadraticProblem problem = random_quadratic(40, 16, 0.01, 1, 0.05, 11);
  OlgaOptions options = options_for(problem);
  options.inner = top_k(problem, 10);
  options.error_feedback = true;
  options.theory = true;
  options.geometric = true;
  options.tolerance = 1e-3;
  constexpr int kIterations = 60;
  std::vector<double> mean(kIterations + 1);
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    options.seed = seed;
    const std::vector<double> one = lyapunov(problem, options, kIterations);
    ASSERT_EQ(one.size(), mean.size());
    std::transform(one.begin(), one.end(), mean.begin(), mean.begin(), std::plus<>());
  }
  const double tau = ef_olga_theory({16, options.convexity, options.similarity, 4, 4}).tau;
  for (size_t k = 0; k < kIterations; ++k) {
    EXPECT_LE(mean[k + 1], (1 - tau) * mean[k]) << "step " << k;
  }
}

OlgaOptions ef_options(const QuadraticProblem& problem, int kept) {
  OlgaOptions options = options_for(problem);
  options.inner = top_k(problem, kept);
  options.error_feedback = true;
  options.scale = 0.25;
  return options;
}

TEST(EfOlgaTest, ConvergesWithABiasedCodec) {
  const RunResult result = run_method(instance_a(), make_olga(ef_options(instance_a(), 20)));
  ASSERT_OK(result.status);
  EXPECT_LE(result.gap, 1e-9);
  EXPECT_TRUE(result.identical);
}

// Reference 8.4: with zeta = 3 and K = 20 about 76 % of inner messages are skipped, and no
// iteration is added.
TEST(EfOlgaTest, LazyRoundsSkipMessagesAtEqualIterations) {
  const QuadraticProblem& problem = instance_a();
  OlgaOptions options = ef_options(problem, 20);
  const RunResult eager = run_method(problem, make_olga(options));
  options.lazy = 3;
  const RunResult lazy = run_method(problem, make_olga(options));
  ASSERT_OK(lazy.status);
  EXPECT_LE(lazy.gap, 1e-9);
  EXPECT_NEAR(lazy.iterations, eager.iterations, 1);
  // Two full gradients an iteration are no inner messages.
  const double inner = static_cast<double>(lazy.worker.skipped_messages + lazy.worker.up_messages -
                                           2 * lazy.iterations);
  EXPECT_GE(static_cast<double>(lazy.worker.skipped_messages), 0.4 * inner);
}

// Reference 11.1: started 100 times too small, the secant estimate brings delta to what the path
// needs.
TEST(OlgaTest, AdaptedSimilarityConvergesFromAGuessAHundredTimesTooSmall) {
  const QuadraticProblem& problem = instance_a();
  const RunResult known = run_method(problem, make_olga(tuned(problem, 10)));
  OlgaOptions options = tuned(problem, 10);
  options.similarity /= 100;
  options.adapt_similarity = true;
  const RunResult adapted = run_method(problem, make_olga(options));
  ASSERT_OK(adapted.status);
  EXPECT_LE(adapted.gap, 1e-9);
  EXPECT_LE(static_cast<double>(adapted.worker.up_bytes),
            1.2 * static_cast<double>(known.worker.up_bytes));
}

TEST(OlgaTest, RestoredStateGoesOnBitForBit) {
  const QuadraticProblem problem = random_quadratic(40, 3, 0.01, 1, 0.05, 5);
  OlgaOptions options = tuned(problem, 4);
  options.gather = bits(4);
  const std::vector<double> at_once =
      run_method(problem, make_olga(options), {.iterations_max = 6, .gap = -1}).solution;
  std::vector<std::vector<double>> saved;
  run_method(problem, make_olga(options), {.iterations_max = 2, .gap = -1, .saved = &saved});
  EXPECT_EQ(
      run_method(problem, make_olga(options), {.iterations_max = 4, .gap = -1, .saved = &saved})
          .solution,
      at_once);
}

TEST(OlgaTest, RestoreRefusesAnotherProblemsState) {
  const QuadraticProblem problem = random_quadratic(10, 1, 0.1, 1, 0, 5);
  const auto transports = laconic::testing::WorldKind{false, 1}.make(1);
  collective::Communicator communicator(*transports[0], 1, laconic::testing::kTestDeadline);
  const auto objective = problem.objective(0);
  OlgaOptions options = options_for(problem);
  options.similarity = 1;
  auto method = Olga::make(options, communicator, *objective, std::vector<double>(10));
  ASSERT_OK(method.status());
  EXPECT_THAT((*method)->restore(std::vector<double>(5)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("5 numbers")));
}

// The reference's 7.3 and 8: at most 0.7 of tuned AEG's uplink; with 4 bits a value in every
// message, 0.35 of its uplink and downlink.
TEST(OlgaTest, SendsLessThanTunedAegToTheSameAccuracy) {
  const QuadraticProblem& problem = instance_a();
  const RunResult aeg = run_method(
      problem,
      [&](collective::Communicator& communicator, Objective& objective,
          std::span<const double> start) -> absl::StatusOr<std::unique_ptr<Method>> {
        const AegOptions options{.convexity = problem.convexity(),
                                 .similarity = 0.35 * problem.similarity()};  // The best of a grid.
        return Aeg::make(options, communicator, objective, start);
      });
  ASSERT_LE(aeg.gap, 1e-9);
  const RunResult olga = run_method(problem, make_olga(tuned(problem, 10)));
  EXPECT_LE(olga.up(), 0.7 * aeg.up());
  OlgaOptions options = tuned(problem, 10);
  options.inner = {.kind = core::CodecKind::kQuantize, .bits = 4, .block = 256, .stochastic = true};
  options.gather = options.downlink = bits(4);
  options.rounds = 3;
  const RunResult few_bits = run_method(problem, make_olga(options));
  EXPECT_LE(few_bits.gap, 1e-9);
  EXPECT_LE(few_bits.up() + few_bits.down(), 0.35 * (aeg.up() + aeg.down()));
}

TEST(OlgaTest, RefusesWhatItCannotRun) {
  const QuadraticProblem problem = random_quadratic(10, 2, 0.1, 1, 0.05, 5);
  const auto refused = [&](const std::function<void(OlgaOptions&)>& change, const char* text) {
    OlgaOptions options = tuned(problem, 2);
    change(options);
    EXPECT_THAT(run_method(problem, make_olga(options)).status,
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  };
  refused([](OlgaOptions& o) { o.convexity = 0; }, "convexity (mu) is 0");
  refused([](OlgaOptions& o) { o.similarity = -1; }, "similarity (delta) is -1");
  refused([](OlgaOptions& o) { o.scale = 0; }, "scale (c) is 0");
  refused([](OlgaOptions& o) { o.tolerance = 0; }, "tolerance is 0");
  refused([](OlgaOptions& o) { o.anchor = 2; }, "anchor is 2");
  refused([](OlgaOptions& o) { o.rounds = -1; }, "rounds (1/p) is -1");
  refused([](OlgaOptions& o) { o.lazy = 1; }, "lazy is 1");
  refused([](OlgaOptions& o) { o.inner.scaled = false; }, "codec is biased");
}

}  // namespace
}  // namespace laconic::convex
