// Which method exchange.auto takes.
#include "common/sync/method_planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

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

struct Case {
  const char* description;
  MethodRequest request;
  std::vector<MethodCandidate> candidates;
  core::Method method;
  size_t candidate;
  int64_t inner_steps;
  const char* explanation;  // part of it
};

TEST(MethodPlannerTest, TakesDenseWhereTheLinkCarriesItElseTheMostRoundsWithinTheLimits) {
  // 1 bit is 125,000 bytes a round: 20 rounds fit beside 100,000 bytes for measuring.
  MethodRequest limited = request(0.1, 2'600'000);
  limited.spent_bytes = 60'000;
  limited.reserve_bytes = 40'000;
  constexpr core::Method kDense = core::Method::kDense;
  constexpr core::Method kLocal = core::Method::kLocal;
  for (const Case& one : std::vector<Case>{
           {"float32 takes 4 ms beside a step of 100 ms", request(0.1), candidates_over(1e9),
            kDense, 0, 1, "dense, every step, in float32"},
           {"8 bits take 10 ms, float32 40 ms", request(0.1), candidates_over(1e8), kDense, 1, 1,
            "dense float32 would wait"},
           {"4 bits take 5 ms beside a step of 50 ms, 8 bits 10 ms", request(0.05),
            candidates_over(1e8), kDense, 2, 1, "dense, every step"},
           {"1 bit takes 1.25 s, nine times that are 112.5 steps", request(0.1),
            candidates_over(1e5), kLocal, 4, 113, "113 steps between rounds"},
           {"latency alone, so bits cost nothing", request(0.1), candidates_over(1e12, 0.1), kLocal,
            0, 10, "local, 10 steps"},
           {"bytes bind on a fast link", limited, candidates_over(1e9), kLocal, 4, 50, "allowed: "},
           {"a wait that nothing keeps", request(0.001), candidates_over(1e3), kLocal, 4, 1000,
            "more than allowed even with one round"}}) {
    SCOPED_TRACE(one.description);
    const auto choice = choose_method(one.request, one.candidates);
    ASSERT_OK(choice.status());
    EXPECT_EQ(choice->method, one.method);
    EXPECT_EQ(choice->candidate, one.candidate);
    EXPECT_EQ(choice->inner_steps, one.inner_steps);
    EXPECT_THAT(choice->explanation, HasSubstr(one.explanation));
  }
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
