#include "common/collective/communicator.h"

#include <cstring>
#include <thread>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "common/core/crc32c.h"
#include "common/core/random.h"
#include "tests/collective/world.h"

namespace laconic::collective {
namespace {

using ::laconic::testing::all_worlds;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::laconic::testing::WorldKind;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kGeneration = 5;

std::vector<uint8_t> random_bytes(int rank, int64_t size) {
  core::Random random(7, static_cast<uint64_t>(rank));
  std::vector<uint8_t> bytes(static_cast<size_t>(size));
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(random());
  }
  return bytes;
}

std::vector<uint8_t> bytes_of(const Payload& payload) {
  return {payload.bytes().begin(), payload.bytes().end()};
}

std::vector<float> random_floats(int rank, int64_t size) {
  core::Random random(11, static_cast<uint64_t>(rank));
  std::vector<float> values(static_cast<size_t>(size));
  for (float& value : values) {
    value = static_cast<float>(random.uniform() * 20 - 10);
  }
  return values;
}

// The plain version: sums in rank order in double.
std::vector<float> expected_mean(int world_size, int64_t size) {
  std::vector<double> sum(static_cast<size_t>(size));
  for (int rank = 0; rank < world_size; ++rank) {
    const std::vector<float> values = random_floats(rank, size);
    for (size_t i = 0; i < sum.size(); ++i) {
      sum[i] += values[i];
    }
  }
  std::vector<float> mean;
  for (const double s : sum) {
    mean.push_back(static_cast<float>(s / world_size));
  }
  return mean;
}

// One communicator per transport.
std::vector<Communicator> communicators(const Transports& transports,
                                        absl::Duration deadline = kTestDeadline) {
  std::vector<Communicator> all;
  all.reserve(transports.size());
  for (const auto& transport : transports) {
    all.emplace_back(*transport, kGeneration, deadline);
  }
  return all;
}
Communicator& of(std::vector<Communicator>& all, int rank) {
  return all[static_cast<size_t>(rank)];
}

int64_t frame_bytes(int64_t payload) {
  return payload + kFrameHeaderBytes * tile_count(payload);
}

void expect_conserved(const Transports& transports) {
  ByteCounts sum;
  for (const auto& transport : transports) {
    const ByteCounts counts = transport->bytes();
    sum.sent += counts.sent;
    sum.received += counts.received;
    sum.payload_sent += counts.payload_sent;
    sum.payload_received += counts.payload_received;
  }
  EXPECT_EQ(sum.sent, sum.received);
  EXPECT_EQ(sum.payload_sent, sum.payload_received);
}

class CommunicatorTest : public ::testing::TestWithParam<WorldKind> {};
INSTANTIATE_TEST_SUITE_P(Worlds, CommunicatorTest, ::testing::ValuesIn(all_worlds()),
                         ::laconic::testing::world_name);

TEST_P(CommunicatorTest, GathersPayloadsOfEverySizeInRankOrder) {
  const int world_size = GetParam().world_size;
  Transports transports = GetParam().make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  int64_t sent = 0;
  for (const int64_t size : {int64_t{0}, int64_t{1}, int64_t{7919}, kFramePayloadBytesMax - 1,
                             kFramePayloadBytesMax, kFramePayloadBytesMax + 1}) {
    on_all_ranks(world_size, [&](int rank) {
      const auto gathered =
          of(all, rank).all_gather(Payload(random_bytes(rank, size)), size, {.round = 3});
      ASSERT_OK(gathered);
      ASSERT_EQ(gathered->size(), static_cast<size_t>(world_size));
      for (int from = 0; from < world_size; ++from) {
        ASSERT_EQ(bytes_of((*gathered)[static_cast<size_t>(from)]), random_bytes(from, size));
      }
    });
    sent += (world_size - 1) * frame_bytes(size);
  }
  for (const auto& transport : transports) {
    EXPECT_EQ(transport->bytes().sent, sent);
    EXPECT_EQ(transport->bytes().received, sent);
  }
  expect_conserved(transports);
  laconic::testing::finish_all(transports);
}

TEST_P(CommunicatorTest, OneRankMaySendManyTilesAndTheOthersNone) {
  const int world_size = GetParam().world_size;
  Transports transports = GetParam().make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  // Above both kTilesAhead and, for the sender, what one round trip carries.
  const int64_t size = 20 * kFramePayloadBytesMax + 3;
  const std::vector<uint8_t> big = random_bytes(0, size);
  on_all_ranks(world_size, [&](int rank) {
    const auto gathered =
        of(all, rank).all_gather(Payload(rank == 0 ? big : std::vector<uint8_t>{}), size, {});
    ASSERT_OK(gathered);
    EXPECT_TRUE(bytes_of((*gathered)[0]) == big);
    for (size_t from = 1; from < gathered->size(); ++from) {
      EXPECT_EQ((*gathered)[from].size, 0U);
    }
  });
  expect_conserved(transports);
  laconic::testing::finish_all(transports);
}

TEST_P(CommunicatorTest, MeanIsTheOrderedSumBitForBitOnAllRanks) {
  const int world_size = GetParam().world_size;
  Transports transports = GetParam().make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  for (const int64_t size : {0, 1, 2, 5, 7919}) {
    const std::vector<float> expected = expected_mean(world_size, size);
    on_all_ranks(world_size, [&](int rank) {
      std::vector<float> values = random_floats(rank, size);
      ASSERT_OK(of(all, rank).all_reduce_mean(values, {.round = 1, .previous_digest = 9}));
      EXPECT_EQ(values, expected);
    });
  }
  expect_conserved(transports);
  laconic::testing::finish_all(transports);
}

TEST_P(CommunicatorTest, MeanOverTileBoundariesSendsTheBytesOfTheFormula) {
  const int world_size = GetParam().world_size;
  Transports transports = GetParam().make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  const int64_t part = kFramePayloadBytesMax / 4 + 1;  // floats: one tile and four bytes
  const int64_t size = part * world_size;
  const std::vector<float> expected = expected_mean(world_size, size);
  on_all_ranks(world_size, [&](int rank) {
    std::vector<float> values = random_floats(rank, size);
    ASSERT_OK(of(all, rank).all_reduce_mean(values, {}));
    EXPECT_TRUE(values == expected);
  });
  // 2 (P-1)/P 4 d, and the headers.
  const int64_t payload = 2 * (world_size - 1) * 4 * part;
  for (const auto& transport : transports) {
    EXPECT_EQ(transport->bytes().payload_sent, payload);
    EXPECT_EQ(transport->bytes().sent, payload + 2 * (world_size - 1) * 2 * kFrameHeaderBytes);
  }
  expect_conserved(transports);
  laconic::testing::finish_all(transports);
}

class CommunicatorWithPeersTest : public CommunicatorTest {};
INSTANTIATE_TEST_SUITE_P(Worlds, CommunicatorWithPeersTest,
                         ::testing::ValuesIn(laconic::testing::worlds_with_peers()),
                         ::laconic::testing::world_name);

TEST_P(CommunicatorWithPeersTest, RankThatDiesMidRoundIsNamedByAllOthers) {
  const int world_size = GetParam().world_size;
  Transports transports = GetParam().make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  const int dying = world_size - 1;
  absl::BlockingCounter first_round(world_size - 1);
  on_all_ranks(world_size, [&](int rank) {
    EXPECT_OK(of(all, rank).all_gather(Payload(random_bytes(rank, 100)), 100, {}));
    if (rank == dying) {
      // Its last frame may still be queued here: dead now, it would fail the first round.
      first_round.Wait();
      transports[static_cast<size_t>(dying)].reset();
      return;
    }
    first_round.DecrementCount();
    EXPECT_THAT(
        of(all, rank).all_gather(Payload(random_bytes(rank, 100)), 100, {.round = 1}),
        StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr("rank " + std::to_string(dying)),
                                                       HasSubstr("closed its stream"))));
    EXPECT_EQ(of(all, rank).failed_rank(), dying);
  });
}

TEST_P(CommunicatorWithPeersTest, AbortFromAnotherThreadEndsAnOperationThatWaits) {
  Transports transports = GetParam().make(kGeneration);
  std::vector<Communicator> all = communicators(transports);
  std::thread aborter([&] { of(all, 0).abort(absl::CancelledError("the job was cancelled")); });
  std::vector<float> values(100);
  EXPECT_THAT(of(all, 0).all_reduce_mean(values, {}),
              StatusIs(absl::StatusCode::kCancelled, "the job was cancelled"));
  aborter.join();
}

TEST(CommunicatorDeadlineTest, SilentRankIsNamedWhenTheDeadlinePasses) {
  InProcessNetwork network(3);
  Transports transports = laconic::testing::in_process_world(network, 3);
  std::vector<Communicator> all = communicators(transports, absl::Milliseconds(50));
  on_all_ranks(2, [&](int rank) {
    EXPECT_THAT(of(all, rank).all_gather(Payload(std::vector<uint8_t>{1, 2, 3}), 3, {}),
                StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 2")));
    EXPECT_EQ(of(all, rank).failed_rank(), 2);
  });
}

// Notes the deadlines that a communicator asks for; frames go the way of the real transport.
class NotingTransport final : public Transport {
 public:
  explicit NotingTransport(Transport& real) : real_(real) {}
  int rank() const override { return real_.rank(); }
  int world_size() const override { return real_.world_size(); }
  absl::Status send(int to_rank, Frame frame, absl::Time deadline) override {
    return real_.send(to_rank, std::move(frame), deadline);
  }
  absl::StatusOr<Frame> receive(int from_rank, absl::Time deadline) override {
    deadlines_.push_back(deadline);
    return real_.receive(from_rank, deadline);
  }
  absl::Status finish(absl::Time deadline) override { return real_.finish(deadline); }
  int lost_rank() const override { return real_.lost_rank(); }
  ByteCounts bytes() const override { return real_.bytes(); }
  ByteCounts peer_bytes(int peer_rank) const override { return real_.peer_bytes(peer_rank); }
  void abort(const absl::Status& reason) override { real_.abort(reason); }

  const std::vector<absl::Time>& deadlines() const { return deadlines_; }

 private:
  Transport& real_;
  std::vector<absl::Time> deadlines_;
};

// One deadline for a whole operation ended large payloads on slow links that worked all the time.
TEST(CommunicatorDeadlineTest, DeadlineStartsAnewWithEveryTile) {
  InProcessNetwork network(2);
  Transports transports = laconic::testing::in_process_world(network, 2);
  NotingTransport noting(*transports[0]);
  Communicator first(noting, kGeneration, kTestDeadline);
  Communicator second(*transports[1], kGeneration, kTestDeadline);
  const auto three_tiles = static_cast<size_t>(2 * kFramePayloadBytesMax + 1);
  on_all_ranks(2, [&](int rank) {
    Communicator& own = rank == 0 ? first : second;
    EXPECT_OK(own.all_gather(Payload(std::vector<uint8_t>(three_tiles)),
                             static_cast<int64_t>(three_tiles), {})
                  .status());
  });
  ASSERT_EQ(noting.deadlines().size(), 3U);
  EXPECT_LT(noting.deadlines()[0], noting.deadlines()[1]);
  EXPECT_LT(noting.deadlines()[1], noting.deadlines()[2]);
}

TEST(CommunicatorDeadlineTest, RankThatSaysItIsBusyIsWaitedFor) {
  InProcessNetwork network(2);
  Transports transports = laconic::testing::in_process_world(network, 2);
  std::vector<Communicator> all = communicators(transports);
  const OpTag tag = {.round = 3, .previous_digest = 0xAB};
  on_all_ranks(2, [&](int rank) {
    if (rank == 0) {
      EXPECT_OK(of(all, 0).keep_alive(tag));
    }
    std::vector<float> values = {rank == 0 ? 1.0F : 3.0F};
    EXPECT_OK(of(all, rank).all_reduce_mean(values, tag));
    EXPECT_EQ(values[0], 2);
  });
}

TEST(CommunicatorDeadlineTest, DelayedFramesArriveWhenTheWayIsReleased) {
  InProcessNetwork network(2);
  Transports transports = laconic::testing::in_process_world(network, 2);
  std::vector<Communicator> all = communicators(transports);
  network.hold(1, 0);
  absl::Notification other_done;
  on_all_ranks(3, [&](int thread) {
    if (thread == 2) {
      other_done.WaitForNotification();
      network.release(1, 0);
      return;
    }
    EXPECT_OK(of(all, thread)
                  .all_gather(Payload(std::vector<uint8_t>{static_cast<uint8_t>(thread)}), 1, {})
                  .status());
    if (thread == 1) {
      other_done.Notify();
    }
  });
}

TEST(CommunicatorTrafficTest, OneRankAloneSendsNothing) {
  InProcessNetwork network(1);
  Transports transports = laconic::testing::in_process_world(network, 1);
  std::vector<Communicator> all = communicators(transports);
  std::vector<float> values = {1.5F, -2.0F};
  EXPECT_OK(of(all, 0).all_reduce_mean(values, {}));
  EXPECT_EQ(values, (std::vector<float>{1.5F, -2.0F}));
  EXPECT_OK(of(all, 0).all_gather(Payload(std::vector<uint8_t>{1, 2}), 2, {}).status());
  EXPECT_EQ(transports[0]->bytes().sent, 0);
}

// Rank 0 is a real communicator; what rank 1 sends is written by hand.
class HostilePeerTest : public ::testing::Test {
 protected:
  HostilePeerTest() : network_(2), transports_(laconic::testing::in_process_world(network_, 2)) {}

  // A frame that rank 0's first all-gather takes.
  static Frame good_frame(std::vector<uint8_t> payload) {
    Frame frame;
    frame.header.generation = kGeneration;
    frame.header.round = 3;
    frame.header.previous_digest = 0xAB;
    frame.header.from_rank = 1;
    frame.header.to_rank = 0;
    frame.header.payload_bytes_total = payload.size();
    frame.header.payload_bytes = static_cast<uint32_t>(payload.size());
    frame.header.payload_crc32c = core::crc32c(payload);
    frame.payload = Payload(std::move(payload));
    return frame;
  }
  void send(const Frame& frame) {
    ASSERT_OK(transports_[1]->send(0, frame, absl::Now() + kTestDeadline));
  }
  absl::StatusOr<std::vector<Payload>> gather(int64_t payload_bytes_max) {
    return communicator().all_gather(Payload(), payload_bytes_max,
                                     {.round = 3, .previous_digest = 0xAB});
  }
  Communicator& communicator() { return communicator_; }

  InProcessNetwork network_;
  Transports transports_;
  Communicator communicator_{*transports_[0], kGeneration, kTestDeadline};
};

TEST_F(HostilePeerTest, FramesOfEarlierGenerationsAreDroppedAndCounted) {
  Frame stale = good_frame({9});
  stale.header.generation = kGeneration - 1;
  send(stale);
  send(stale);
  send(good_frame({1, 2}));
  ASSERT_OK_AND_ASSIGN(const auto gathered, gather(2));
  EXPECT_EQ(bytes_of(gathered[1]), (std::vector<uint8_t>{1, 2}));
  EXPECT_EQ(communicator().stale_frames(), 2);
}

TEST_F(HostilePeerTest, SignsOfLifeArePassedOver) {
  Frame alive = good_frame({});
  alive.header.kind = FrameKind::kAlive;
  send(alive);
  send(alive);
  send(good_frame({1, 2}));
  ASSERT_OK_AND_ASSIGN(const auto gathered, gather(2));
  EXPECT_EQ(bytes_of(gathered[1]), (std::vector<uint8_t>{1, 2}));
}

TEST_F(HostilePeerTest, SignOfLifeFromAnotherPlaceIsRefused) {
  Frame alive = good_frame({});
  alive.header.kind = FrameKind::kAlive;
  alive.header.previous_digest = 0xCD;
  send(alive);
  EXPECT_THAT(gather(2), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("diverged")));
}

TEST_F(HostilePeerTest, EndlessSignsOfLifeEndTheOperation) {
  std::thread chatter([&] {
    Frame alive = good_frame({});
    alive.header.kind = FrameKind::kAlive;
    for (int i = 0; i <= kPassedOverMax; ++i) {
      send(alive);
    }
  });
  EXPECT_THAT(gather(2), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("nothing new")));
  chatter.join();
}

TEST_F(HostilePeerTest, FrameOfALaterGenerationAbortsTheOperation) {
  Frame frame = good_frame({1});
  frame.header.generation = kGeneration + 1;
  send(frame);
  EXPECT_THAT(gather(2), StatusIs(absl::StatusCode::kAborted, HasSubstr("generation 6")));
}

TEST_F(HostilePeerTest, PeerWithOtherParametersIsNamedWithBothDigests) {
  Frame frame = good_frame({1});
  frame.header.previous_digest = 0xCD;
  send(frame);
  EXPECT_THAT(gather(2), StatusIs(absl::StatusCode::kFailedPrecondition,
                                  "rank 1 diverged: its digest of round 3 is 00000000000000cd, "
                                  "ours is 00000000000000ab"));
  EXPECT_EQ(communicator().failed_rank(), 1);
}

TEST_F(HostilePeerTest, PeerAtAnotherOperationIsRefused) {
  Frame frame = good_frame({1});
  frame.header.op_sequence = 7;
  send(frame);
  EXPECT_THAT(gather(2), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("operation 7")));
}

TEST_F(HostilePeerTest, PeerAtAnotherRoundIsRefused) {
  Frame frame = good_frame({1});
  frame.header.round = 2;
  send(frame);
  EXPECT_THAT(gather(2), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("round 2")));
}

TEST_F(HostilePeerTest, PeerInAnotherKindOfOperationIsRefused) {
  Frame frame = good_frame({1});
  frame.header.kind = FrameKind::kPart;
  send(frame);
  EXPECT_THAT(gather(2), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("kind 2")));
}

TEST_F(HostilePeerTest, TotalAboveTheBoundIsRefusedBeforeAllocation) {
  Frame frame = good_frame(std::vector<uint8_t>(static_cast<size_t>(kFramePayloadBytesMax), 1));
  frame.header.payload_bytes_total = static_cast<uint64_t>(kPayloadBytesTotalMax);
  send(frame);
  EXPECT_THAT(gather(kFramePayloadBytesMax),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the limit is 1048576")));
}

TEST_F(HostilePeerTest, PartOfTheWrongLengthIsRefused) {
  Frame frame = good_frame({1, 2, 3});
  frame.header.kind = FrameKind::kPart;
  send(frame);
  std::vector<float> values = {1, 2};
  EXPECT_THAT(communicator().all_reduce_mean(values, {.round = 3, .previous_digest = 0xAB}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("3 bytes, due are 4")));
  EXPECT_EQ(values, (std::vector<float>{1, 2}));
}

TEST_F(HostilePeerTest, FrameThatClaimsAnotherSenderIsRefused) {
  Frame frame = good_frame({1});
  frame.header.from_rank = 2;
  send(frame);
  EXPECT_THAT(gather(2), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("from rank 2")));
}

TEST_F(HostilePeerTest, LaterTileFirstIsRefused) {
  Frame frame = good_frame({1});
  frame.header.tile = 1;
  frame.header.payload_bytes_total = static_cast<uint64_t>(kFramePayloadBytesMax) + 1;
  send(frame);
  EXPECT_THAT(gather(2 * kFramePayloadBytesMax),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("where tile 0 was due")));
}

TEST_F(HostilePeerTest, EveryCorruptedByteOfAFrameEndsTheOperation) {
  // A changed generation may look stale: then the deadline ends it, as nothing else comes.
  const std::vector<uint8_t> payload = {1, 2, 3};
  for (size_t byte = 0; byte <= static_cast<size_t>(kFrameHeaderBytes) + payload.size(); ++byte) {
    InProcessNetwork network(2);
    Transports transports = laconic::testing::in_process_world(network, 2);
    Communicator victim(*transports[0], kGeneration, absl::Milliseconds(20));
    network.corrupt_next(1, 0, byte);
    ASSERT_OK(transports[1]->send(0, good_frame(payload), absl::Now() + kTestDeadline));
    EXPECT_FALSE(victim.all_gather(Payload(), 3, {.round = 3, .previous_digest = 0xAB}).ok())
        << "byte " << byte;
  }
}

TEST_F(HostilePeerTest, CorruptedPayloadIsDataLossThatNamesTheRank) {
  network_.corrupt_next(1, 0, static_cast<size_t>(kFrameHeaderBytes) + 1);
  send(good_frame({1, 2, 3}));
  EXPECT_THAT(gather(3), StatusIs(absl::StatusCode::kDataLoss,
                                  AllOf(HasSubstr("rank 1"), HasSubstr("checksum"))));
  EXPECT_EQ(communicator().failed_rank(), 1);
}

TEST_F(HostilePeerTest, OwnPayloadAboveTheBoundIsOurMistake) {
  EXPECT_THAT(communicator().all_gather(Payload(std::vector<uint8_t>{1, 2, 3}), 2, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the limit is 2")));
}

}  // namespace
}  // namespace laconic::collective
