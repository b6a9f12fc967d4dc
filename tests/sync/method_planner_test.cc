// Which method exchange.auto takes.
#include "common/sync/method_planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace laconic::sync {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

// float32, 8, 4, 2 and 1 bits of 1,000,000 elements over `bytes_per_second`.
std::vector<MethodCandidate> candidates_over(double bytes_per_second, double latency = 0) {
  std::vector<MethodCandidate> candidates;
  for (const int bits : {32, 8, 4, 2, 1}) {
    MethodCandidate candidate;
    if (bits < 32) {
      candidate.codec.kind = core::CodecKind::kQuantize;
    }
    candidate.codec.bits = bits;
    candidate.schedule = core::Schedule::kSharded;
    candidate.sent_bytes = bits * 125'000;
    candidate.seconds = latency + static_cast<double>(candidate.sent_bytes) / bytes_per_second;
    candidates.push_back(candidate);
  }
  return candidates;
}

MethodRequest request(double step_seconds, int64_t bytes = 0) {
  return {.limits = {.wait = 0.1, .bytes = bytes},
          .steps = 1000,
          .step_seconds = step_seconds,
          .spent_bytes = 0,
          .reserve_bytes = 0};
}

TEST(MethodPlannerTest, FastLinkTakesDenseFloat32) {
  const auto choice = choose_method(request(0.1), candidates_over(1e9));
  ASSERT_OK(choice.status());
  EXPECT_EQ(choice->method, core::Method::kDense);
  EXPECT_EQ(choice->candidate, 0);
  EXPECT_THAT(choice->explanation, HasSubstr("dense, every step, in float32"));
}

TEST(MethodPlannerTest, SlowerLinkTakesDenseInAsManyBitsAsItCarries) {
  // 4 bits take 5 ms beside a step of 100 ms, 8 bits 10 ms, float32 40 ms.
  const auto four = choose_method(request(0.05), candidates_over(1e8));
  ASSERT_OK(four.status());
  EXPECT_EQ(four->method, core::Method::kDense);
  EXPECT_EQ(four->candidate, 2);
  const auto eight = choose_method(request(0.1), candidates_over(1e8));
  ASSERT_OK(eight.status());
  EXPECT_EQ(eight->candidate, 1);
  EXPECT_THAT(eight->explanation, HasSubstr("dense float32 would wait"));
}

TEST(MethodPlannerTest, SlowLinkTakesLocalWithNoMoreStepsThanTheWaitAsksFor) {
  // One bit takes 1.25 s: 9 of the time's 10 parts are 11.25 s, 113 steps of 0.1 s.
  const auto choice = choose_method(request(0.1), candidates_over(1e5));
  ASSERT_OK(choice.status());
  EXPECT_EQ(choice->method, core::Method::kLocal);
  EXPECT_EQ(choice->candidate, 4);
  EXPECT_EQ(choice->inner_steps, 113);
  EXPECT_THAT(choice->explanation, HasSubstr("113 steps between rounds"));
}

TEST(MethodPlannerTest, LatencyAloneLeavesTheMostBits) {
  const auto choice = choose_method(request(0.1), candidates_over(1e12, /*latency=*/0.1));
  ASSERT_OK(choice.status());
  EXPECT_EQ(choice->method, core::Method::kLocal);
  EXPECT_EQ(choice->candidate, 0);
  EXPECT_EQ(choice->inner_steps, 10);
}

TEST(MethodPlannerTest, BytesBoundTheRoundsOnAFastLink) {
  // 1 bit: 125,000 bytes a round; 20 rounds and the measuring fit.
  MethodRequest limited = request(0.1, 2'600'000);
  limited.spent_bytes = 60'000;
  limited.reserve_bytes = 40'000;
  const auto choice = choose_method(limited, candidates_over(1e9));
  ASSERT_OK(choice.status());
  EXPECT_EQ(choice->method, core::Method::kLocal);
  EXPECT_EQ(choice->candidate, 4);
  EXPECT_EQ(choice->inner_steps, 50);
}

TEST(MethodPlannerTest, BytesForLessThanOneRoundAreRefusedWithWhatIsNeeded) {
  MethodRequest limited = request(0.1, 130'000);
  limited.spent_bytes = 10'000;
  EXPECT_THAT(choose_method(limited, candidates_over(1e9)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at least 135000")));
  limited.limits.bytes = 135'000;
  const auto one = choose_method(limited, candidates_over(1e9));
  ASSERT_OK(one.status());
  EXPECT_EQ(one->inner_steps, 1000);
}

TEST(MethodPlannerTest, LinkThatCannotKeepTheWaitGetsOneRoundAndIsTold) {
  const auto choice = choose_method(request(0.001), candidates_over(1e3));
  ASSERT_OK(choice.status());
  EXPECT_EQ(choice->inner_steps, 1000);
  EXPECT_THAT(choice->explanation, HasSubstr("more than allowed even with one round"));
}

TEST(MethodPlannerTest, ChosenExchangeIsComplete) {
  const std::vector<MethodCandidate> candidates = candidates_over(1e5);
  core::ExchangeSpec asked;
  asked.automatic = core::AutoSpec();
  asked.rounds.steps = 10'000;
  asked.candidates.resize(5);
  const core::ExchangeSpec local = chosen_exchange(
      asked, {.method = core::Method::kLocal, .candidate = 4, .inner_steps = 50, .explanation = {}},
      candidates);
  EXPECT_EQ(local.method, core::Method::kLocal);
  EXPECT_FALSE(local.automatic.has_value());
  EXPECT_TRUE(local.candidates.empty());
  EXPECT_TRUE(local.error_feedback);
  EXPECT_EQ(local.codec, candidates[4].codec);
  EXPECT_EQ(local.schedule, core::Schedule::kSharded);
  EXPECT_EQ(local.rounds.inner_steps, 50);
  const core::ExchangeSpec dense = chosen_exchange(
      asked, {.method = core::Method::kDense, .candidate = 0, .explanation = {}}, candidates);
  EXPECT_EQ(dense.method, core::Method::kDense);
  EXPECT_FALSE(dense.error_feedback);
}

}  // namespace
}  // namespace laconic::sync
