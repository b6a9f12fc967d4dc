#include "worker/trainer/decision_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace laconic::trainer {
namespace {

using sync::RoundReason;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr sync::RoundDecision kAlways = {.reason = RoundReason::kEveryRound, .senders = 4};
constexpr sync::RoundDecision kSilent = {.reason = RoundReason::kSmallChange, .senders = 2};
constexpr sync::RoundDecision kChanged = {.reason = RoundReason::kChanged, .senders = 2};

TEST(DecisionLogTest, RoundsAlikeInARowAreOneEntry) {
  DecisionLog log(1000);
  log.start(0, 0, 24);
  for (int64_t step = 1; step <= 6; ++step) {
    log.step_done(step, step / 2, 24 + 100 * (step / 2), kAlways);
  }
  ASSERT_EQ(log.rounds().size(), 1U);
  EXPECT_EQ(log.rounds()[0].first_round(), 1);
  EXPECT_EQ(log.rounds()[0].rounds(), 3);
  EXPECT_EQ(log.rounds()[0].step(), 6);
  EXPECT_EQ(log.rounds()[0].inner_steps(), 2);
  EXPECT_EQ(log.rounds()[0].payload_bytes(), 300);  // not the start's 24
}

TEST(DecisionLogTest, OtherReasonSendersOrStepsBeginANewEntry) {
  DecisionLog log(1000);
  log.step_done(1, 1, 0, kChanged);
  log.step_done(2, 2, 0, kSilent);
  log.step_done(3, 3, 0, {.reason = RoundReason::kSmallChange, .senders = 1});
  log.step_done(4, 3, 0, {});  // no round
  log.step_done(5, 4, 0, {.reason = RoundReason::kSmallChange, .senders = 1});
  ASSERT_EQ(log.rounds().size(), 4U);
  EXPECT_EQ(log.rounds()[3].inner_steps(), 2);
  const std::vector<v1::RoundCount> counts = log.counts();
  ASSERT_EQ(counts.size(), 2U);
  EXPECT_EQ(counts[0].reason(), v1::CHANGED);
  EXPECT_EQ(counts[0].rounds(), 1);
  EXPECT_EQ(counts[1].reason(), v1::SMALL_CHANGE);
  EXPECT_EQ(counts[1].rounds(), 3);
}

TEST(DecisionLogTest, ListEndsAtItsLimitAndCountsGoOn) {
  DecisionLog log(1000);
  const auto rounds = static_cast<int64_t>(kRoundsListedMax) + 10;
  for (int64_t round = 1; round <= rounds; ++round) {
    log.step_done(round, round, 0, round % 2 == 0 ? kSilent : kChanged);
  }
  EXPECT_EQ(log.rounds().size(), kRoundsListedMax);
  EXPECT_EQ(log.counts()[0].rounds() + log.counts()[1].rounds(), rounds);
}

TEST(DecisionLogTest, NewsSayWhatWasDecidedAndWhy) {
  DecisionLog log(1000);
  log.step_done(1, 1, 500, {.reason = RoundReason::kFirstRounds, .senders = 4});
  log.step_done(2, 2, 500, kSilent);
  EXPECT_EQ(log.news(),
            "rounds 1 to 2 of 1 step each: sent 1 (first rounds), silent 1 (change too small); "
            "2 bits per parameter and round sent to all peers together");
  EXPECT_EQ(log.news(), std::nullopt);
  log.step_done(3, 3, 500, kSilent);
  EXPECT_THAT(*log.news(), AllOf(HasSubstr("rounds 3 to 3"), HasSubstr("sent none, silent 1")));
}

TEST(DecisionLogTest, RoundsThatAlwaysSendAreNewsOnceAndWhenTheirStepsChange) {
  DecisionLog log(1000);
  log.step_done(2, 1, 0, kAlways);
  EXPECT_THAT(*log.news(), HasSubstr("of 2 steps each: sent 1 (as always)"));
  log.step_done(4, 2, 0, kAlways);
  EXPECT_EQ(log.news(), std::nullopt);
  log.step_done(8, 3, 0, kAlways);
  EXPECT_THAT(*log.news(), HasSubstr("rounds 3 to 3 of 4 steps each"));
}

}  // namespace
}  // namespace laconic::trainer
