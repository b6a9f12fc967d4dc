#include "common/core/schedule_choice.h"

#include <gtest/gtest.h>

#include "common/core/payload_size.h"

namespace laconic::core {
namespace {

constexpr CodecSpec kNone = {};
constexpr CodecSpec kInt8 = {.kind = CodecKind::kQuantize, .bits = 8};
constexpr CodecSpec kSignRows = {.kind = CodecKind::kQuantize, .bits = 1, .rows = true};

Layout vector_of(int64_t elements) {
  return {{{.name = "w", .rows = 1, .columns = elements}}};
}
CodecSpec top_k(double density, int bits) {
  return {.kind = CodecKind::kTopK, .bits = bits, .density = density};
}
Schedule automatic(const CodecSpec& codec, int64_t elements, int world_size) {
  return choose_schedule(Schedule::kAuto, codec, vector_of(elements), world_size);
}

TEST(ChooseScheduleTest, TakesWhatIsAskedFor) {
  for (const Schedule asked : {Schedule::kAllGather, Schedule::kSharded, Schedule::kRing,
                               Schedule::kStar, Schedule::kTree}) {
    EXPECT_EQ(choose_schedule(asked, kNone, vector_of(5), 3), asked);
  }
}

TEST(ChooseScheduleTest, ShardsFloat32) {
  for (const int world_size : {1, 2, 16}) {
    EXPECT_EQ(automatic(kNone, 10, world_size), Schedule::kSharded);
    EXPECT_EQ(automatic(kNone, 25'000'000, world_size), Schedule::kSharded);
  }
}

TEST(ChooseScheduleTest, ShardsLargeQuantizedVectorsFromThreeRanksOn) {
  EXPECT_EQ(automatic(kInt8, 25'000'000, 1), Schedule::kAllGather);
  EXPECT_EQ(automatic(kInt8, 25'000'000, 2), Schedule::kAllGather);
  EXPECT_EQ(automatic(kInt8, 25'000'000, 3), Schedule::kSharded);
}

TEST(ChooseScheduleTest, GathersWhatIsTinyInAll) {
  // 65,028 bytes of payload: four times that is within kTinyRoundBytes, five times is not.
  const int64_t elements = 64'524;
  ASSERT_EQ(payload_bytes_max(kInt8, vector_of(elements)), 65'030);
  EXPECT_EQ(automatic(kInt8, elements, 5), Schedule::kAllGather);
  EXPECT_EQ(automatic(kInt8, elements, 6), Schedule::kSharded);
}

// The example of the README: 421,642 parameters in one bit, four workers.
TEST(ChooseScheduleTest, GathersTheDemo) {
  EXPECT_EQ(automatic(kSignRows, 421'642, 4), Schedule::kAllGather);
}

// Random positions, parts of ranks and thin factors belong to the whole vector.
TEST(ChooseScheduleTest, GathersWhatMayNotBeCutHoweverLarge) {
  for (const CodecKind kind : {CodecKind::kRandK, CodecKind::kPermK, CodecKind::kChunkedTopK,
                               CodecKind::kNatural, CodecKind::kExponential, CodecKind::kLowRank}) {
    const CodecSpec codec = {.kind = kind, .bits = 4, .density = 0.5};
    EXPECT_FALSE(may_be_cut(codec)) << static_cast<int>(kind);
    EXPECT_EQ(automatic(codec, 25'000'000, 16), Schedule::kAllGather) << static_cast<int>(kind);
  }
  EXPECT_TRUE(may_be_cut(kNone) && may_be_cut(kInt8) && may_be_cut(top_k(0.1, 4)));
}

// 12.6 bits per element kept at 1 % against 4.25 bits of all: P < 67 (reference 1.2).
TEST(ChooseScheduleTest, GathersTopKBelowTheBreakEven) {
  const CodecSpec codec = top_k(0.01, 4);
  const int64_t elements = 25'600'000;
  const double bits = 8.0 *
                      static_cast<double>(payload_bytes_expected(codec, vector_of(elements))) /
                      static_cast<double>(elements);
  const int last = static_cast<int>(8.5 / bits);
  EXPECT_GE(last, 50);
  EXPECT_LE(last, 67);
  EXPECT_EQ(automatic(codec, elements, last), Schedule::kAllGather);
  EXPECT_EQ(automatic(codec, elements, last + 1), Schedule::kSharded);
  EXPECT_EQ(automatic(top_k(0.5, 32), elements, 3), Schedule::kSharded);
}

TEST(SentBytesTest, OneRankSendsNothing) {
  for (const Schedule schedule : {Schedule::kAllGather, Schedule::kSharded, Schedule::kRing,
                                  Schedule::kStar, Schedule::kTree}) {
    EXPECT_EQ(sent_bytes_max(schedule, kNone, vector_of(100), 1), 0);
  }
}

TEST(SentBytesTest, AreThoseOfTheFormulas) {
  const int64_t elements = 12'000'000;
  const auto payload = static_cast<double>(payload_bytes_max(kInt8, vector_of(elements)));
  const double dense = 4.0 * static_cast<double>(elements);
  for (const int world_size : {2, 4, 7, 16}) {
    const double peers = world_size - 1;
    const auto expect_near = [&](Schedule schedule, const CodecSpec& codec, double bytes) {
      const auto sent =
          static_cast<double>(sent_bytes_max(schedule, codec, vector_of(elements), world_size));
      EXPECT_NEAR(sent, bytes, 0.01 * bytes) << schedule_name(schedule) << " P " << world_size;
      EXPECT_GE(sent, 0.999 * bytes);
    };
    expect_near(Schedule::kAllGather, kInt8, peers * payload);
    expect_near(Schedule::kSharded, kInt8, 2 * peers / world_size * payload);
    expect_near(Schedule::kStar, kInt8, peers * payload);
    expect_near(Schedule::kTree, kInt8, peers * payload);
    expect_near(Schedule::kSharded, kNone, 2 * peers / world_size * dense);
    expect_near(Schedule::kRing, kNone, 2 * peers / world_size * dense);
    // Seven ranks: four in the core, three of which stand in for another.
    const double tree = world_size == 7 ? 2.0 * 3 / 4 + 1 : 2 * peers / world_size;
    expect_near(Schedule::kTree, kNone, tree * dense);
  }
}

}  // namespace
}  // namespace laconic::core
