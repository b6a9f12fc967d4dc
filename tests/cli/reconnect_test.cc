#include "cli/reconnect.h"

#include <gtest/gtest.h>

namespace laconic::cli {
namespace {

using Step = Reconnect::Step;

const absl::Time kStart = absl::FromUnixSeconds(1'000);
const absl::Status kAway = absl::UnavailableError("connection refused");

TEST(ReconnectTest, ServerThatWasNeverHeardIsNotWaitedFor) {
  Reconnect reconnect(absl::Seconds(30));
  EXPECT_EQ(reconnect.ended(kAway, kStart), Step::kGiveUp);
}

TEST(ReconnectTest, AnswerOfTheServerIsNotAskedForAgain) {
  Reconnect reconnect(absl::Seconds(30));
  reconnect.heard();
  EXPECT_EQ(reconnect.ended(absl::OkStatus(), kStart), Step::kGiveUp);
  EXPECT_EQ(reconnect.ended(absl::NotFoundError("no such job"), kStart), Step::kGiveUp);
  EXPECT_EQ(reconnect.ended(absl::ResourceExhaustedError("too many"), kStart), Step::kGiveUp);
}

TEST(ReconnectTest, AnnouncesOnceThenOpensAfterEveryPause) {
  Reconnect reconnect(absl::Seconds(30));
  reconnect.heard();
  EXPECT_EQ(reconnect.ended(kAway, kStart), Step::kAnnounce);
  const absl::Duration almost = Reconnect::kPause - absl::Nanoseconds(1);
  EXPECT_EQ(reconnect.ended(kAway, kStart + almost), Step::kWait);
  EXPECT_EQ(reconnect.ended(kAway, kStart + Reconnect::kPause), Step::kOpen);
  EXPECT_EQ(reconnect.ended(kAway, kStart + Reconnect::kPause + almost), Step::kWait);
  EXPECT_EQ(reconnect.ended(kAway, kStart + 2 * Reconnect::kPause), Step::kOpen);
}

TEST(ReconnectTest, PatienceCountsFromTheEndOfTheStream) {
  Reconnect reconnect(absl::Seconds(2));
  reconnect.heard();
  const absl::Time end = kStart + absl::Hours(5);  // Nothing was heard for hours: a quiet job.
  EXPECT_EQ(reconnect.ended(kAway, end), Step::kAnnounce);
  EXPECT_EQ(reconnect.ended(kAway, end + absl::Seconds(2) - absl::Nanoseconds(1)), Step::kOpen);
  EXPECT_EQ(reconnect.ended(kAway, end + absl::Seconds(2)), Step::kGiveUp);
}

TEST(ReconnectTest, ServerThatCameBackMayGoAwayAgain) {
  Reconnect reconnect(absl::Seconds(2));
  reconnect.heard();
  EXPECT_EQ(reconnect.ended(kAway, kStart), Step::kAnnounce);
  reconnect.heard();
  EXPECT_EQ(reconnect.ended(kAway, kStart + absl::Seconds(100)), Step::kAnnounce);
  EXPECT_EQ(reconnect.ended(kAway, kStart + absl::Seconds(101)), Step::kOpen);
}

TEST(ReconnectTest, NoPatienceMeansOneAnnouncementAndTheEnd) {
  Reconnect reconnect(absl::ZeroDuration());
  reconnect.heard();
  EXPECT_EQ(reconnect.ended(kAway, kStart), Step::kAnnounce);
  EXPECT_EQ(reconnect.ended(kAway, kStart), Step::kGiveUp);
}

}  // namespace
}  // namespace laconic::cli
