// Communicator::broadcast over worlds in one process and over gRPC.
#include <gtest/gtest.h>

#include "common/collective/communicator.h"
#include "common/core/random.h"
#include "tests/collective/world.h"

namespace laconic::collective {
namespace {

using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::laconic::testing::WorldKind;
using ::testing::HasSubstr;

std::vector<uint8_t> bytes_of(uint64_t seed, size_t count) {
  core::Random random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) {
    byte = static_cast<uint8_t>(random());
  }
  return bytes;
}

class BroadcastTest : public ::testing::TestWithParam<WorldKind> {};
INSTANTIATE_TEST_SUITE_P(Worlds, BroadcastTest, ::testing::ValuesIn(laconic::testing::all_worlds()),
                         ::laconic::testing::world_name);

TEST_P(BroadcastTest, EveryRankGetsTheBytesOfTheRootAndNobodySendsMoreThanTwoPayloads) {
  const int world_size = GetParam().world_size;
  Transports transports = GetParam().make(1);
  std::vector<Communicator> communicators;
  communicators.reserve(transports.size());
  for (const auto& transport : transports) {
    communicators.emplace_back(*transport, 1, kTestDeadline);
  }
  // Fewer bytes than ranks, and pieces of several tiles.
  for (const size_t count : {0, 1, 5, 1000, 8'000'003}) {
    for (int root = 0; root < world_size; ++root) {
      const std::vector<uint8_t> sent = bytes_of(count, count);
      on_all_ranks(world_size, [&](int rank) {
        Communicator& communicator = communicators[static_cast<size_t>(rank)];
        const ByteCounts before = communicator.bytes();
        ASSERT_OK_AND_ASSIGN(const Payload got,
                             communicator.broadcast(root, rank == root ? Payload(sent) : Payload{},
                                                    static_cast<int64_t>(count) + 7, {.round = 3}));
        EXPECT_TRUE(std::ranges::equal(got.bytes(), sent));
        const auto payload = static_cast<int64_t>(count);
        const int64_t sent_bytes = communicator.bytes().payload_sent - before.payload_sent;
        const int64_t share = (payload + world_size - 1) / world_size * (world_size - 1);
        EXPECT_LE(sent_bytes, rank == root ? 2 * share : share);
      });
    }
  }
  laconic::testing::finish_all(transports);
}

TEST(BroadcastFailureTest, PayloadAboveTheBoundIsRefusedByTheRootAndByReceivers) {
  InProcessNetwork network(2);
  Transports transports = laconic::testing::in_process_world(network, 2);
  on_all_ranks(2, [&](int rank) {
    Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
    if (rank == 0) {
      EXPECT_THAT(communicator.broadcast(0, Payload(bytes_of(1, 11)), 10, {}),
                  StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the limit is 10")));
      // The root of a peer that allows more.
      static_cast<void>(communicator.broadcast(0, Payload(bytes_of(1, 100)), 100, {}));
    } else {
      EXPECT_THAT(communicator.broadcast(0, {}, 10, {}),
                  StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the limit is 5")));
      EXPECT_EQ(communicator.failed_rank(), 0);
      transports[1]->abort(absl::AbortedError("done"));
      network.drop(1);
    }
  });
}

TEST(BroadcastFailureTest, BytesFromARankThatIsNotTheRootAreRefused) {
  InProcessNetwork network(2);
  Transports transports = laconic::testing::in_process_world(network, 2);
  on_all_ranks(2, [&](int rank) {
    Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
    if (rank == 0) {
      // All-gather in place of broadcast: this rank sends 3 bytes where none are due.
      static_cast<void>(communicator.all_gather(Payload(bytes_of(1, 3)), 100, {}));
    } else {
      EXPECT_THAT(communicator.broadcast(1, Payload(bytes_of(2, 4)), 10, {}),
                  StatusIs(absl::StatusCode::kDataLoss, HasSubstr("due are 0")));
      network.drop(1);
    }
  });
}

}  // namespace
}  // namespace laconic::collective
