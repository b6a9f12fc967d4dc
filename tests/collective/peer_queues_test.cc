#include "common/collective/peer_queues.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/collective/world.h"

namespace laconic::collective {
namespace {

using ::laconic::testing::kTestDeadline;
using ::laconic::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

Frame frame_of(size_t payload_bytes, uint64_t round = 0, uint16_t lane_sequence = 0) {
  Frame frame;
  frame.header.lane_sequence = lane_sequence;
  frame.header.round = round;
  frame.payload = Payload(std::vector<uint8_t>(payload_bytes));
  return frame;
}

const size_t kTile = static_cast<size_t>(kFramePayloadBytesMax);

absl::Time now() {
  return absl::Now();
}

// Writes all that waits on a lane, as a stream would; the frames in order.
std::vector<Frame> drain(PeerQueues& queues, PeerLane to) {
  std::vector<Frame> frames;
  for (;;) {
    const NextWrite next = queues.next_write(to);
    if (next.step != WriteStep::kFrame) {
      return frames;
    }
    frames.push_back(next.frame);
    queues.write_done(to, true);
  }
}

TEST(PeerQueuesTest, FramesOfManyLanesAreTakenInTheOrderOfTheirNumbers) {
  for (const int lanes : {1, 2, 3, 7, kLanesMax}) {
    PeerQueues sender(0, 2, lanes);
    PeerQueues receiver(1, 2, lanes);
    for (uint64_t round = 0; round < 20; ++round) {
      ASSERT_OK(sender.send(1, frame_of(round % 5 * 100, round), now()).status());
    }
    for (int lane = lanes - 1; lane >= 0; --lane) {  // The last lane is the fastest.
      for (const Frame& frame : drain(sender, {1, lane})) {
        receiver.deliver({0, lane}, frame);
      }
    }
    for (uint64_t round = 0; round < 20; ++round) {
      ASSERT_OK_AND_ASSIGN(const Frame frame, receiver.receive(0, now()));
      EXPECT_EQ(frame.header.round, round);
      EXPECT_EQ(frame.header.lane_sequence, 0);
    }
    EXPECT_EQ(sender.bytes().sent, receiver.bytes().received);
  }
}

TEST(PeerQueuesTest, LaneWithTheFewestBytesTakesTheFrame) {
  PeerQueues queues(0, 2, 2);
  EXPECT_EQ(*queues.send(1, frame_of(1000), now()), 0);
  EXPECT_EQ(*queues.send(1, frame_of(10), now()), 1);
  EXPECT_EQ(*queues.send(1, frame_of(10), now()), 1);
  drain(queues, {1, 0});
  EXPECT_EQ(*queues.send(1, frame_of(10), now()), 0);
}

TEST(PeerQueuesTest, NoLaneIsPassedOverForLongerThanTheNumbersAllow) {
  constexpr int kLanes = 3;
  PeerQueues sender(0, 2, kLanes);
  PeerQueues receiver(1, 2, kLanes);
  std::vector<int> frames(kLanes);
  // Lane 0 is always free, so that only the limit sends frames elsewhere; the numbers wrap around.
  for (uint64_t i = 0; i < 5 * kLaneGapMax; ++i) {
    ASSERT_OK_AND_ASSIGN(const int lane, sender.send(1, frame_of(0, i), now()));
    ++frames[static_cast<size_t>(lane)];
    for (const Frame& frame : drain(sender, {1, lane})) {
      receiver.deliver({0, lane}, frame);
    }
    ASSERT_OK_AND_ASSIGN(const Frame frame, receiver.receive(0, now()));
    ASSERT_EQ(frame.header.round, i);
  }
  EXPECT_GE(*std::min_element(frames.begin(), frames.end()), 4);
}

TEST(PeerQueuesTest, LaterFrameWaitsForTheOneBeforeIt) {
  PeerQueues queues(1, 2, 2);
  queues.deliver({0, 1}, frame_of(1, 2, 2));
  EXPECT_THAT(queues.receive(0, now()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("no frame from rank 0")));
  queues.deliver({0, 0}, frame_of(1, 1, 1));
  EXPECT_EQ(queues.receive(0, now())->header.round, 1U);
  EXPECT_EQ(queues.receive(0, now())->header.round, 2U);
}

TEST(PeerQueuesTest, NumberThatComesTwiceOrJumpsIsDataLoss) {
  for (const uint16_t second : {uint16_t{1}, uint16_t{0}, uint16_t{2 + kLaneGapMax}}) {
    PeerQueues queues(1, 2, 2);
    queues.deliver({0, 0}, frame_of(1, 1, 1));
    queues.deliver({0, 0}, frame_of(1, 2, second));
    ASSERT_OK(queues.receive(0, now()).status());
    EXPECT_THAT(queues.receive(0, now()),
                StatusIs(absl::StatusCode::kDataLoss,
                         AllOf(HasSubstr("from rank 0"),
                               HasSubstr(absl::StrCat("number ", second, " on lane 0 after 1")))));
  }
}

TEST(PeerQueuesTest, FrameThatNoLaneCanBringIsDataLoss) {
  PeerQueues queues(1, 2, 2);
  queues.deliver({0, 0}, frame_of(1, 1, 2));
  queues.deliver({0, 1}, frame_of(1, 2, 3));
  EXPECT_THAT(queues.receive(0, absl::Now() + kTestDeadline),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("frame 1 of its way is missing")));
  PeerQueues ended(1, 2, 2);
  ended.deliver({0, 0}, frame_of(1, 1, 2));
  ended.incoming_ended({0, 0});
  ended.incoming_ended({0, 1});
  EXPECT_THAT(ended.receive(0, absl::Now() + kTestDeadline),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("frame 1 of its way is missing")));
}

TEST(PeerQueuesTest, QueueOfAllLanesTogetherIsBounded) {
  for (const int lanes : {1, 2, kLanesMax}) {
    PeerQueues sender(0, 2, lanes);
    PeerQueues receiver(1, 2, lanes);
    int64_t queued = 0;
    while (sender.send(1, frame_of(kTile), now()).ok()) {
      ++queued;
    }
    EXPECT_EQ(queued * (kFrameHeaderBytes + kFramePayloadBytesMax), kQueueBytesMax);
    // Every lane asks first and delivers then, as lanes do that read at the same time.
    int64_t waiting = 0;
    for (bool more = true; more;) {
      std::vector<int> readers;
      for (int lane = 0; lane < lanes; ++lane) {
        if (receiver.has_room({0, lane})) {
          readers.push_back(lane);
        }
      }
      more = !readers.empty();
      for (const int lane : readers) {
        ++waiting;
        receiver.deliver({0, lane}, frame_of(kTile, 0, static_cast<uint16_t>(waiting)));
      }
    }
    EXPECT_LE(waiting * (kFrameHeaderBytes + kFramePayloadBytesMax), kQueueBytesMax);
    EXPECT_GE(waiting, lanes);
  }
}

// A lane that waited for room that the others had taken would have kept the next frame away.
TEST(PeerQueuesTest, LaneOfWhichNothingWaitsMayAlwaysRead) {
  PeerQueues queues(1, 2, 2);
  uint16_t number = 1;
  while (queues.has_room({0, 1})) {
    queues.deliver({0, 1}, frame_of(kTile, 0, ++number));
  }
  EXPECT_TRUE(queues.has_room({0, 0}));
  queues.deliver({0, 0}, frame_of(kTile, 0, 1));
  EXPECT_FALSE(queues.has_room({0, 0}));
  for (int i = 0; i < number; ++i) {
    ASSERT_OK(queues.receive(0, now()).status());
  }
}

TEST(PeerQueuesTest, WayEndsOnceAllItsLanesHaveEnded) {
  PeerQueues queues(1, 2, 2);
  for (int lane = 0; lane < 2; ++lane) {
    queues.outgoing_done({0, lane}, absl::OkStatus());
  }
  EXPECT_EQ(queues.lost_rank(), 0);  // Gone before either side ended.

  PeerQueues orderly(1, 2, 2);
  orderly.end_all();
  for (int lane = 0; lane < 2; ++lane) {
    EXPECT_EQ(orderly.next_write({0, lane}).step, WriteStep::kEnd);
    orderly.outgoing_done({0, lane}, absl::OkStatus());
  }
  orderly.incoming_ended({0, 0});
  EXPECT_THAT(orderly.wait_ended(now()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 0 has not ended")));
  orderly.incoming_ended({0, 1});
  EXPECT_OK(orderly.wait_ended(now()));
}

TEST(PeerQueuesTest, OneBrokenLaneMeansThatThePeerIsLost) {
  PeerQueues queues(1, 3, 2);
  queues.incoming_ended({0, 0});
  queues.incoming_done({0, 0});
  EXPECT_EQ(queues.lost_rank(), -1);
  queues.incoming_done({0, 1});
  EXPECT_EQ(queues.lost_rank(), 0);
  EXPECT_THAT(queues.send(0, frame_of(1), now()).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 0 closed its stream")));
}

TEST(PeerQueuesTest, BytesAreCountedByPeerAndDirection) {
  PeerQueues queues(0, 3, 2);
  ASSERT_OK(queues.send(1, frame_of(10), now()).status());
  ASSERT_OK(queues.send(2, frame_of(0), now()).status());
  queues.deliver({2, 0}, frame_of(7, 0, 1));
  ASSERT_OK(queues.receive(2, now()).status());
  EXPECT_EQ(queues.peer_bytes(1), (ByteCounts{.sent = 74, .payload_sent = 10}));
  EXPECT_EQ(queues.peer_bytes(2), (ByteCounts{.sent = 64, .received = 71, .payload_received = 7}));
  EXPECT_EQ(queues.peer_bytes(0), ByteCounts{});
  EXPECT_EQ(queues.bytes(),
            (ByteCounts{.sent = 138, .received = 71, .payload_sent = 10, .payload_received = 7}));
}

}  // namespace
}  // namespace laconic::collective
