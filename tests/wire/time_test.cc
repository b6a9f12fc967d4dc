#include "common/wire/time.h"

#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace laconic::wire {
namespace {

using google::protobuf::util::TimeUtil;

google::protobuf::Duration duration(int64_t seconds, int32_t nanos) {
  google::protobuf::Duration result;
  result.set_seconds(seconds);
  result.set_nanos(nanos);
  return result;
}

TEST(TimeTest, TimesGoThereAndBackToTheNanosecond) {
  for (const int64_t nanos : {int64_t{0}, int64_t{1}, int64_t{999'999'999}, int64_t{1'000'000'000},
                              int64_t{1'800'000'000'123'456'789}}) {
    const absl::Time time = absl::FromUnixNanos(nanos);
    EXPECT_EQ(from_proto(to_proto(time)), time) << nanos;
    EXPECT_EQ(TimeUtil::TimestampToNanoseconds(to_proto(time)), nanos);
  }
}

TEST(TimeTest, TimesBefore1970CountNanosecondsUp) {
  const google::protobuf::Timestamp stamp = to_proto(absl::FromUnixNanos(-1));
  EXPECT_EQ(stamp.seconds(), -1);
  EXPECT_EQ(stamp.nanos(), 999'999'999);
  EXPECT_EQ(from_proto(stamp), absl::FromUnixNanos(-1));
}

TEST(TimeTest, TimesAreCutToTheNanosecondBelow) {
  const absl::Time time = absl::UnixEpoch() + absl::Nanoseconds(7) + absl::Nanoseconds(1) / 2;
  EXPECT_EQ(to_proto(time).nanos(), 7);
}

TEST(TimeTest, TimesBeyondTheMessageBecomeItsEnds) {
  EXPECT_EQ(to_proto(absl::InfiniteFuture()).seconds(), TimeUtil::kTimestampMaxSeconds);
  EXPECT_EQ(to_proto(absl::InfiniteFuture()).nanos(), 999'999'999);
  EXPECT_EQ(to_proto(absl::InfinitePast()).seconds(), TimeUtil::kTimestampMinSeconds);
  EXPECT_EQ(to_proto(absl::InfinitePast()).nanos(), 0);
}

TEST(TimeTest, DurationsGoThereAndBackToTheNanosecond) {
  for (const int64_t nanos : {int64_t{0}, int64_t{1}, int64_t{-1}, int64_t{999'999'999},
                              int64_t{1'000'000'000}, int64_t{-1'500'000'000}, INT64_MAX / 2}) {
    const absl::Duration span = absl::Nanoseconds(nanos);
    EXPECT_EQ(from_proto(to_proto(span)), span) << nanos;
    EXPECT_EQ(TimeUtil::DurationToNanoseconds(to_proto(span)), nanos);
  }
}

TEST(TimeTest, NegativeDurationsHaveNegativeNanoseconds) {
  const google::protobuf::Duration message = to_proto(absl::Milliseconds(-1500));
  EXPECT_EQ(message.seconds(), -1);
  EXPECT_EQ(message.nanos(), -500'000'000);
}

TEST(TimeTest, DurationsBeyondTheMessageBecomeItsEnds) {
  EXPECT_EQ(to_proto(absl::InfiniteDuration()).seconds(), TimeUtil::kDurationMaxSeconds);
  EXPECT_EQ(to_proto(absl::InfiniteDuration()).nanos(), 0);
  EXPECT_EQ(to_proto(-absl::InfiniteDuration()).seconds(), TimeUtil::kDurationMinSeconds);
  EXPECT_EQ(to_proto(-absl::InfiniteDuration()).nanos(), 0);
}

TEST(TimeTest, UnsetMessagesAreTheEpochAndNoTimeAtAll) {
  EXPECT_EQ(from_proto(google::protobuf::Timestamp()), absl::UnixEpoch());
  EXPECT_EQ(from_proto(google::protobuf::Duration()), absl::ZeroDuration());
}

// A peer may send what protobuf does not allow; whoever asks gets a time, not undefined behaviour.
TEST(TimeTest, MessagesOutOfRangeAreTakenAsTheyStand) {
  constexpr int64_t kSecondsMax = std::numeric_limits<int64_t>::max();
  constexpr int64_t kSecondsMin = std::numeric_limits<int64_t>::min();
  EXPECT_EQ(from_proto(duration(1, -1)), absl::Seconds(1) - absl::Nanoseconds(1));
  EXPECT_EQ(from_proto(duration(0, INT32_MAX)), absl::Nanoseconds(INT32_MAX));
  EXPECT_GT(from_proto(duration(kSecondsMax, INT32_MAX)), absl::Hours(24));
  EXPECT_LT(from_proto(duration(kSecondsMin, INT32_MIN)), -absl::Hours(24));
  google::protobuf::Timestamp stamp;
  stamp.set_seconds(kSecondsMin);
  stamp.set_nanos(INT32_MIN);
  EXPECT_LT(from_proto(stamp), absl::UnixEpoch());
}

}  // namespace
}  // namespace laconic::wire
