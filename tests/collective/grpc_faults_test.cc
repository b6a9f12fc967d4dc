// Ranks whose way passes a link with faults, and ranks with several lanes.
#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/collective/communicator.h"
#include "common/collective/grpc_transport.h"
#include "tests/collective/world.h"
#include "tests/testing/link_proxy.h"

namespace laconic::collective {
namespace {

using ::laconic::testing::grpc_options;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::LinkFaults;
using ::laconic::testing::LinkProxy;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kGeneration = 4;
// Where a fault strikes: after gRPC's greetings, within the first tile.
constexpr int64_t kWithinFirstTile = 500'000;

absl::Time soon() {
  return absl::Now() + kTestDeadline;
}

// Two ranks; what rank 0 sends to rank 1 passes a link.
struct LinkedWorld {
  explicit LinkedWorld(const LinkFaults& faults, int lanes = 1, const LinkFaults& back = {}) {
    std::vector<std::unique_ptr<GrpcTransport>> made;
    for (int rank = 0; rank < 2; ++rank) {
      auto transport = GrpcTransport::create(grpc_options(rank, 2, lanes));
      EXPECT_OK(transport.status());
      made.push_back(*std::move(transport));
    }
    link = std::make_unique<LinkProxy>(laconic::testing::LinkOptions{
        .target = made[1]->address(), .to_target = faults, .from_target = back});
    on_all_ranks(2, [&](int rank) {
      const std::string to_second = rank == 0 ? link->address() : made[1]->address();
      EXPECT_OK(made[static_cast<size_t>(rank)]->connect(kGeneration,
                                                         {made[0]->address(), to_second}, soon()));
    });
    for (auto& transport : made) {
      transports.push_back(std::move(transport));
    }
  }

  // Both ranks gather `payload`; what each got.
  std::vector<absl::Status> gather(size_t payload_bytes, absl::Duration deadline) {
    std::vector<absl::Status> statuses(2);
    on_all_ranks(2, [&](int rank) {
      Communicator communicator(*transports[static_cast<size_t>(rank)], kGeneration, deadline);
      statuses[static_cast<size_t>(rank)] =
          communicator
              .all_gather(Payload(std::vector<uint8_t>(payload_bytes, 5)),
                          static_cast<int64_t>(payload_bytes), {})
              .status();
    });
    return statuses;
  }

  std::unique_ptr<LinkProxy> link;
  Transports transports;  // Goes before the link.
};

TEST(GrpcFaultsTest, ChangedByteIsDataLossThatNamesTheSender) {
  LinkedWorld world({.flip_at_byte = kWithinFirstTile});
  EXPECT_THAT(
      world.gather(2 << 20, kTestDeadline)[1],
      StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr("rank 0"), HasSubstr("checksum"))));
}

TEST(GrpcFaultsTest, StallBeyondTheDeadlineNamesTheRankWaitedFor) {
  LinkedWorld world({.stall_at_byte = kWithinFirstTile});
  EXPECT_THAT(world.gather(1 << 20, absl::Milliseconds(300))[1],
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 0")));
  EXPECT_EQ(world.transports[1]->lost_rank(), -1);
}

TEST(GrpcFaultsTest, StallThatEndsInTimeIsNoFailure) {
  LinkedWorld world({.stall_at_byte = kWithinFirstTile, .stall = absl::Milliseconds(200)});
  for (const absl::Status& status : world.gather(3 << 20, kTestDeadline)) {
    EXPECT_OK(status);
  }
  laconic::testing::finish_all(world.transports);
}

TEST(GrpcFaultsTest, ResetWithinATransferNamesTheRankAtBothEnds) {
  for (const int lanes : {1, 2}) {
    LinkedWorld world({.reset_at_byte = kWithinFirstTile}, lanes);
    EXPECT_THAT(world.gather(4 << 20, kTestDeadline)[1],
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 0")));
    absl::Status first;
    while (first.ok()) {
      first = world.transports[0]->receive(1, soon()).status();
    }
    EXPECT_THAT(first, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1")));
    EXPECT_EQ(world.transports[0]->lost_rank(), 1);
    EXPECT_EQ(world.transports[1]->lost_rank(), 0);
  }
}

TEST(GrpcFaultsTest, DelayChangesNoBitOfTheResult) {
  const auto values_of = [](int rank) {
    std::vector<float> values(300'007);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] =
          static_cast<float>((i * 7919 + static_cast<size_t>(rank) * 104729) % 1000003) * 1e-3F;
    }
    return values;
  };
  const auto mean_of = [&](Transports& transports) {
    std::vector<std::vector<float>> results(2);
    on_all_ranks(2, [&](int rank) {
      const size_t r = static_cast<size_t>(rank);
      results[r] = values_of(rank);
      Communicator communicator(*transports[r], kGeneration, kTestDeadline);
      EXPECT_OK(communicator.all_reduce_mean(results[r], {}));
    });
    return results;
  };
  InProcessNetwork network(2);
  Transports plain = laconic::testing::in_process_world(network, 2);
  const auto expected = mean_of(plain);
  for (const int lanes : {1, 3}) {
    const LinkFaults slow = {.delay = absl::Milliseconds(20), .jitter = absl::Milliseconds(10)};
    LinkedWorld world(slow, lanes, slow);
    const auto results = mean_of(world.transports);
    EXPECT_TRUE(results == expected) << lanes << " lanes";
    EXPECT_EQ(world.link->connections(), lanes);
    laconic::testing::finish_all(world.transports);
  }
}

TEST(GrpcFaultsTest, SlowLinkSharedByLanesCarriesAllFramesInOrder) {
  LinkedWorld world({.delay = absl::Milliseconds(5), .bytes_per_s = 40'000'000}, 4);
  for (const absl::Status& status : world.gather((6 << 20) + 13, kTestDeadline)) {
    EXPECT_OK(status);
  }
  laconic::testing::finish_all(world.transports);
}

// Reference: docs/wire-format.md, "Bytes counted".
TEST(GrpcFaultsTest, LinkCarriesAtMostFourPercentMoreThanTheFrames) {
  for (const int lanes : {1, 2}) {
    LinkedWorld world({}, lanes);
    for (const absl::Status& status : world.gather(8 << 20, kTestDeadline)) {
      EXPECT_OK(status);
    }
    laconic::testing::finish_all(world.transports);
    const int64_t frame_bytes = world.transports[0]->bytes().sent;
    EXPECT_EQ(world.transports[0]->bytes().payload_sent, 8 << 20);
    EXPECT_GE(world.link->bytes_to_target(), frame_bytes);
    EXPECT_LE(static_cast<double>(world.link->bytes_to_target()),
              1.04 * static_cast<double>(frame_bytes));
  }
}

TEST(GrpcLanesTest, RankWithAnotherNumberOfLanesIsRefused) {
  ASSERT_OK_AND_ASSIGN(const auto first, GrpcTransport::create(grpc_options(0, 2, 1)));
  ASSERT_OK_AND_ASSIGN(const auto second, GrpcTransport::create(grpc_options(1, 2, 2)));
  const std::vector<std::string> addresses = {first->address(), second->address()};
  on_all_ranks(2, [&](int rank) {
    EXPECT_THAT((rank == 0 ? first : second)->connect(kGeneration, addresses, soon()),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("lanes")));
  });
}

TEST(GrpcLanesTest, ManySmallAndLargeFramesArriveInOrder) {
  Transports world = laconic::testing::grpc_world(2, kGeneration, 3);
  constexpr uint64_t kFrames = 400;
  const auto size_of = [](uint64_t i) { return i % 7 == 0 ? size_t{600'000} : (i * 997) % 50'000; };
  on_all_ranks(2, [&](int rank) {
    for (uint64_t i = 0; i < kFrames; ++i) {
      if (rank == 0) {
        Frame frame;
        frame.header = {.round = i,
                        .from_rank = 0,
                        .to_rank = 1,
                        .payload_bytes_total = size_of(i),
                        .payload_bytes = static_cast<uint32_t>(size_of(i))};
        frame.payload = Payload(std::vector<uint8_t>(size_of(i), static_cast<uint8_t>(i)));
        ASSERT_OK(world[0]->send(1, frame, soon()));
        continue;
      }
      ASSERT_OK_AND_ASSIGN(const Frame frame, world[1]->receive(0, soon()));
      ASSERT_EQ(frame.header.round, i);
      ASSERT_EQ(frame.payload.size, size_of(i));
      const auto bytes = frame.payload.bytes();
      ASSERT_TRUE(std::all_of(bytes.begin(), bytes.end(),
                              [&](uint8_t byte) { return byte == static_cast<uint8_t>(i); }));
    }
  });
  EXPECT_EQ(world[0]->peer_bytes(1).sent, world[1]->peer_bytes(0).received);
  laconic::testing::finish_all(world);
}

TEST(GrpcLanesTest, SenderWaitsWhileNobodyReceivesAndNothingIsLost) {
  Transports world = laconic::testing::grpc_world(2, kGeneration, 4);
  const Payload tile(std::vector<uint8_t>(static_cast<size_t>(kFramePayloadBytesMax)));
  uint64_t queued = 0;
  for (absl::Status status; status.ok();) {
    Frame frame;
    frame.header = {.round = queued,
                    .from_rank = 0,
                    .to_rank = 1,
                    .payload_bytes_total = tile.size,
                    .payload_bytes = static_cast<uint32_t>(tile.size)};
    frame.payload = tile;
    status = world[0]->send(1, frame, absl::Now() + absl::Milliseconds(200));
    queued += status.ok() ? 1 : 0;
  }
  EXPECT_LT(queued, 250U);
  for (uint64_t i = 0; i < queued; ++i) {
    ASSERT_OK_AND_ASSIGN(const Frame frame, world[1]->receive(0, soon()));
    ASSERT_EQ(frame.header.round, i);
  }
  laconic::testing::finish_all(world);
}

TEST(BytesByPeerTest, EveryRankCountsWhatItsPeersCount) {
  for (const bool grpc : {false, true}) {
    Transports world = laconic::testing::WorldKind{.grpc = grpc, .world_size = 3}.make(kGeneration);
    on_all_ranks(3, [&](int rank) {
      Communicator communicator(*world[static_cast<size_t>(rank)], kGeneration, kTestDeadline);
      const size_t bytes = 100 * (static_cast<size_t>(rank) + 1);
      EXPECT_OK(communicator.all_gather(Payload(std::vector<uint8_t>(bytes)), 300, {}).status());
    });
    for (int a = 0; a < 3; ++a) {
      const Transport& own = *world[static_cast<size_t>(a)];
      ByteCounts sum;
      for (int b = 0; b < 3; ++b) {
        const ByteCounts with = own.peer_bytes(b);
        EXPECT_EQ(with.payload_sent, a == b ? 0 : 100 * (a + 1));
        EXPECT_EQ(with.sent, world[static_cast<size_t>(b)]->peer_bytes(a).received);
        sum += with;
      }
      EXPECT_EQ(sum, own.bytes());
    }
    laconic::testing::finish_all(world);
  }
}

}  // namespace
}  // namespace laconic::collective
