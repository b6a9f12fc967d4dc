#include "common/collective/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/testing/status_matchers.h"

namespace laconic::collective {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

// 25.6 M float32 and the codec speeds that docs/algorithms.md, "Cost", predicts with.
constexpr double kElements = 25.6e6;
constexpr double kBytes = 4 * kElements;
constexpr double kQuantizeRate = 15e9;
constexpr double kSelectRate = 6e9;

Candidate dense() {
  return {"float32",
          {.encode_seconds = 0, .decode_seconds = 0, .payload_bytes = int64_t{102'400'000}}};
}
Candidate quantized(const std::string& name, double bits, double error) {
  return {name,
          {.encode_seconds = kBytes / kQuantizeRate,
           .decode_seconds = kBytes / kQuantizeRate,
           .payload_bytes = static_cast<int64_t>(kElements * bits / 8),
           .error = error}};
}
Candidate top_1_percent() {
  const double kept = kElements / 100;
  return {"top 1 %",
          {.encode_seconds = kBytes / kSelectRate,
           .decode_seconds = kept / 100e6,
           .payload_bytes = static_cast<int64_t>(kept * 12.6 / 8),
           .error = 0.9}};
}
std::vector<Candidate> all_candidates() {
  return {dense(), quantized("int8", 8.06, 4.8e-5), quantized("int4", 4.25, 1.2e-2),
          top_1_percent()};
}

constexpr LinkCost kSlowWan{.latency_seconds = 20e-3, .bytes_per_second = 100e6 / 8};
constexpr LinkCost kGigabit{.latency_seconds = 0.5e-3, .bytes_per_second = 1e9 / 8};
constexpr LinkCost kHundredGigabit{.latency_seconds = 50e-6, .bytes_per_second = 100e9 / 8};

double seconds(core::Schedule schedule, int ranks, const LinkCost& link, const Candidate& codec) {
  return predict(schedule, ranks, link, codec.cost).seconds();
}

// The table of predicted seconds in the literature these formulas come from, within 10 %.
TEST(CostModelTest, MatchesTheKnownTable) {
  const auto near = [](double predicted, double known) {
    EXPECT_NEAR(predicted, known, 0.1 * known);
  };
  near(seconds(core::Schedule::kRing, 8, kSlowWan, dense()), 14.6);
  near(seconds(core::Schedule::kSharded, 8, kSlowWan, quantized("int8", 8.06, 1)), 3.70);
  near(seconds(core::Schedule::kSharded, 8, kSlowWan, quantized("int4", 4.25, 1)), 1.97);
  // The table's all-gather doubles its distance, 3 latencies; ours sends to all at once.
  near(seconds(core::Schedule::kAllGather, 8, kSlowWan, top_1_percent()), 0.32 - 2 * 0.02);
  near(seconds(core::Schedule::kRing, 4, kGigabit, dense()), 1.23);
  near(seconds(core::Schedule::kSharded, 4, kGigabit, quantized("int4", 4.25, 1)), 0.19);
  near(seconds(core::Schedule::kAllGather, 32, kGigabit, top_1_percent()), 0.20);
}

TEST(CostModelTest, AloneNothingIsSent) {
  for (const Candidate& candidate : all_candidates()) {
    const Prediction p = predict(core::Schedule::kSharded, 1, kGigabit, candidate.cost);
    EXPECT_EQ(p.seconds(), 0);
    EXPECT_EQ(p.sent_bytes, 0);
  }
}

TEST(CostModelTest, ShardedTrafficIsFlatInTheNumberOfRanks) {
  const Candidate codec = quantized("int8", 8.06, 1);
  const double at_4 = predict(core::Schedule::kSharded, 4, kGigabit, codec.cost).sent_bytes;
  const double at_16 = predict(core::Schedule::kSharded, 16, kGigabit, codec.cost).sent_bytes;
  EXPECT_LT(at_16, 1.26 * at_4);
  EXPECT_GT(predict(core::Schedule::kAllGather, 16, kGigabit, codec.cost).sent_bytes, 7 * at_16);
}

TEST(CostModelTest, RequantizingRingAddsUpErrorsThatShardedDoesNot) {
  const CodecCost cost = quantized("int8", 8.06, 1).cost;
  EXPECT_DOUBLE_EQ(predict(core::Schedule::kRing, 8, kGigabit, cost).error, 4.5);
  EXPECT_DOUBLE_EQ(predict(core::Schedule::kSharded, 8, kGigabit, cost).error, 15.0 / 8);
}

// Two sites of four ranks: a rank sends a quarter of what crosses between two ranks, and float32
// inside.
TEST(CostModelTest, SitesSendAShardBetweenThemAndFloat32Inside) {
  const Candidate codec = quantized("int8", 8, 1);
  const SiteLinks links{.ranks_per_site = 4, .inside = kHundredGigabit, .between = kSlowWan};
  const Prediction p = predict_sites(8, links, codec.cost, static_cast<int64_t>(kBytes));
  const double inside = 0.75 * (kBytes + kElements);
  const double between = kElements / 4;
  EXPECT_NEAR(p.sent_bytes, inside + between, 10);
  EXPECT_NEAR(p.wire_seconds,
              inside / kHundredGigabit.bytes_per_second + between / kSlowWan.bytes_per_second,
              1e-6);
  EXPECT_NEAR(p.latency_seconds, 2 * 20e-3 + 2 * 50e-6, 1e-9);
  EXPECT_DOUBLE_EQ(p.error, 1.5);
  // One site encodes nothing and uses no link to another.
  const SiteLinks one{.ranks_per_site = 4, .inside = kGigabit, .between = {}};
  const Prediction alone = predict_sites(4, one, codec.cost, static_cast<int64_t>(kBytes));
  EXPECT_EQ(alone.error, 0);
  EXPECT_EQ(alone.codec_seconds, 0);
  EXPECT_NEAR(alone.wire_seconds, 1.5 * kBytes / kGigabit.bytes_per_second, 1e-6);
  // Sites of one rank are ranks.
  const SiteLinks ranks{.ranks_per_site = 1, .inside = {}, .between = kGigabit};
  const Prediction sharded = predict(core::Schedule::kSharded, 4, kGigabit, codec.cost);
  const Prediction by_sites = predict_sites(4, ranks, codec.cost, static_cast<int64_t>(kBytes));
  EXPECT_DOUBLE_EQ(by_sites.sent_bytes, sharded.sent_bytes);
  EXPECT_DOUBLE_EQ(by_sites.wire_seconds, sharded.wire_seconds);
  EXPECT_DOUBLE_EQ(by_sites.error, sharded.error);
}

TEST(PlannerTest, SitesAddUpInsideWhereTheLinksBetweenThemAreThin) {
  const auto candidates = all_candidates();
  const auto plan_of = [&](const LinkCost& inside, const LinkCost& between, core::Schedule asked) {
    return make_plan({.world_size = 8,
                      .link = between,
                      .sites = SiteLinks{.ranks_per_site = 4, .inside = inside, .between = between},
                      .float32_bytes = static_cast<int64_t>(kBytes),
                      .error_budget = 0.05,
                      .schedule = asked},
                     candidates);
  };
  ASSERT_OK_AND_ASSIGN(const Plan thin, plan_of(kHundredGigabit, kSlowWan, core::Schedule::kAuto));
  EXPECT_EQ(thin.chosen.prediction.schedule, core::Schedule::kHierarchical);
  EXPECT_EQ(candidates[thin.chosen.candidate].name, "int4");
  EXPECT_THAT(thin.explanation, HasSubstr("4 ranks a site: 0.05 ms and 12.5 GB/s inside, 20.00 ms "
                                          "and 12.5 MB/s between sites"));
  // Float32 inside costs more than it saves where all links are alike.
  ASSERT_OK_AND_ASSIGN(const Plan even, plan_of(kGigabit, kGigabit, core::Schedule::kAuto));
  EXPECT_EQ(even.chosen.prediction.schedule, core::Schedule::kSharded);
  ASSERT_OK_AND_ASSIGN(const Plan asked,
                       plan_of(kGigabit, kGigabit, core::Schedule::kHierarchical));
  EXPECT_EQ(asked.chosen.prediction.schedule, core::Schedule::kHierarchical);
  EXPECT_EQ(asked.ways.size() + asked.over_budget.size(), candidates.size());
}

TEST(PlannerTest, SlowLinkGetsTheSmallestPayloadTheBudgetAllows) {
  const auto candidates = all_candidates();
  ASSERT_OK_AND_ASSIGN(
      const Plan loose,
      make_plan({.world_size = 8, .link = kSlowWan, .error_budget = 1.0}, candidates));
  EXPECT_EQ(candidates[loose.chosen.candidate].name, "top 1 %");
  EXPECT_EQ(loose.chosen.prediction.schedule, core::Schedule::kAllGather);
  ASSERT_OK_AND_ASSIGN(
      const Plan tight,
      make_plan({.world_size = 8, .link = kSlowWan, .error_budget = 1e-3}, candidates));
  EXPECT_EQ(candidates[tight.chosen.candidate].name, "int8");
  EXPECT_EQ(tight.chosen.prediction.schedule, core::Schedule::kSharded);
  ASSERT_OK_AND_ASSIGN(
      const Plan none,
      make_plan({.world_size = 8, .link = kSlowWan, .error_budget = 0}, candidates));
  EXPECT_EQ(candidates[none.chosen.candidate].name, "float32");
}

TEST(PlannerTest, FastLinkGetsDense) {
  const auto candidates = all_candidates();
  ASSERT_OK_AND_ASSIGN(
      const Plan plan,
      make_plan({.world_size = 8, .link = kHundredGigabit, .error_budget = 1.0}, candidates));
  EXPECT_EQ(candidates[plan.chosen.candidate].name, "float32");
}

TEST(PlannerTest, DenseIsTakenWhenCompressionGainsLessThanPredictionsAreGood) {
  std::vector<Candidate> candidates = {dense(), quantized("half", 16, 1e-6)};
  candidates[1].cost.encode_seconds = 0;
  candidates[1].cost.decode_seconds = 0;
  candidates[1].cost.payload_bytes = candidates[0].cost.payload_bytes * 97 / 100;
  ASSERT_OK_AND_ASSIGN(
      const Plan close,
      make_plan({.world_size = 4, .link = kGigabit, .error_budget = 1.0}, candidates));
  EXPECT_EQ(close.chosen.candidate, 0U);
  candidates[1].cost.payload_bytes = candidates[0].cost.payload_bytes * 90 / 100;
  ASSERT_OK_AND_ASSIGN(
      const Plan clear,
      make_plan({.world_size = 4, .link = kGigabit, .error_budget = 1.0}, candidates));
  EXPECT_EQ(clear.chosen.candidate, 1U);
}

TEST(PlannerTest, DenseIsTakenWhereCompressionSavesLessThanAMillisecond) {
  std::vector<Candidate> candidates = {dense(), quantized("eighth", 4, 1e-6)};
  const auto chosen_of = [&](int64_t dense_bytes) {
    for (Candidate& candidate : candidates) {
      candidate.cost.encode_seconds = 0;
      candidate.cost.decode_seconds = 0;
    }
    candidates[0].cost.payload_bytes = dense_bytes;
    candidates[1].cost.payload_bytes = dense_bytes / 8;
    const auto plan = make_plan({.world_size = 2, .link = kGigabit, .error_budget = 1}, candidates);
    EXPECT_OK(plan.status());
    return plan->chosen.candidate;
  };
  EXPECT_EQ(chosen_of(125'000), 0U);    // 1 ms on the wire: seven eighths of it could be saved
  EXPECT_EQ(chosen_of(1'250'000), 1U);  // 10 ms
}

TEST(PlannerTest, WaysAreSortedAndExplainedWithNumbers) {
  const auto candidates = all_candidates();
  ASSERT_OK_AND_ASSIGN(
      const Plan plan,
      make_plan({.world_size = 4, .link = kGigabit, .error_budget = 1.0}, candidates));
  for (size_t i = 1; i < plan.ways.size(); ++i) {
    EXPECT_LE(plan.ways[i - 1].prediction.seconds(), plan.ways[i].prediction.seconds());
  }
  EXPECT_THAT(plan.explanation, HasSubstr("4 ranks, slowest link 0.50 ms and 125 MB/s"));
  EXPECT_THAT(plan.explanation, HasSubstr("chosen   all_gather  top 1 %"));
}

TEST(PlannerTest, AloneIsDense) {
  ASSERT_OK_AND_ASSIGN(
      const Plan plan,
      make_plan({.world_size = 1, .link = kSlowWan, .error_budget = 1.0}, all_candidates()));
  EXPECT_EQ(plan.chosen.candidate, 0U);
}

TEST(PlannerTest, ImpossibleInputIsRefused) {
  const auto candidates = all_candidates();
  EXPECT_THAT(make_plan({.world_size = 4,
                         .link = {.latency_seconds = 0, .bytes_per_second = 0},
                         .error_budget = 1},
                        candidates),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("above 0")));
  EXPECT_THAT(make_plan({.world_size = 4,
                         .link = {.latency_seconds = -1, .bytes_per_second = 1},
                         .error_budget = 1},
                        candidates),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 or more")));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(make_plan({.world_size = 4,
                         .link = {.latency_seconds = nan, .bytes_per_second = 1},
                         .error_budget = 1},
                        candidates),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nan")));
  EXPECT_THAT(make_plan({.world_size = 4, .link = kGigabit, .error_budget = 1}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("none of 0")));
  EXPECT_THAT(make_plan({.world_size = 4, .link = kGigabit, .error_budget = 0.1},
                        std::vector<Candidate>{top_1_percent()}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("dense float32")));
}

TEST(PlannerTest, WaysOverTheBudgetAreListedButNotTaken) {
  const auto candidates = all_candidates();
  ASSERT_OK_AND_ASSIGN(
      const Plan plan,
      make_plan({.world_size = 8, .link = kSlowWan, .error_budget = 0.1}, candidates));
  EXPECT_EQ(candidates[plan.chosen.candidate].name, "int4");
  ASSERT_FALSE(plan.over_budget.empty());
  for (const PlannedWay& way : plan.over_budget) {
    EXPECT_EQ(candidates[way.candidate].name, "top 1 %");
  }
  for (const PlannedWay& way : plan.ways) {
    EXPECT_LE(way.prediction.error, 0.1);
  }
}

TEST(PlannerTest, CodecThatNeedsTheWholeVectorGoesByAllGatherOnly) {
  std::vector<Candidate> candidates = {quantized("whole", 4, 1e-3)};
  candidates[0].may_be_cut = false;
  ASSERT_OK_AND_ASSIGN(
      const Plan plan,
      make_plan({.world_size = 8, .link = kSlowWan, .error_budget = 1}, candidates));
  ASSERT_EQ(plan.ways.size(), 1U);
  EXPECT_EQ(plan.chosen.prediction.schedule, core::Schedule::kAllGather);
}

TEST(PlannerTest, TinyRoundsGoDenseByAllGatherAndBigOnesSharded) {
  std::vector<Candidate> candidates = {dense()};
  ASSERT_OK_AND_ASSIGN(const Plan big, make_plan({.world_size = 2, .link = kGigabit}, candidates));
  EXPECT_EQ(big.chosen.prediction.schedule, core::Schedule::kSharded);
  candidates[0].cost.payload_bytes = 1000;
  ASSERT_OK_AND_ASSIGN(const Plan tiny, make_plan({.world_size = 2, .link = kGigabit}, candidates));
  EXPECT_EQ(tiny.chosen.prediction.schedule, core::Schedule::kAllGather);
}

TEST(PlannerTest, ScheduleOfTheRequestLeavesOnlyItsWays) {
  const auto candidates = all_candidates();
  ASSERT_OK_AND_ASSIGN(
      const Plan star,
      make_plan(
          {.world_size = 4, .link = kSlowWan, .error_budget = 2, .schedule = core::Schedule::kStar},
          candidates));
  for (const PlannedWay& way : star.ways) {
    EXPECT_EQ(way.prediction.schedule, core::Schedule::kStar);
  }
  EXPECT_THAT(
      make_plan(
          {.world_size = 4, .link = kSlowWan, .error_budget = 2, .schedule = core::Schedule::kRing},
          std::vector<Candidate>{top_1_percent()}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("by the schedule ring")));
}

}  // namespace
}  // namespace laconic::collective
