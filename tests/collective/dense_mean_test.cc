#include "common/collective/dense_mean.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "common/collective/communicator.h"
#include "common/core/random.h"
#include "tests/collective/world.h"
#include "tests/testing/status_matchers.h"

namespace laconic::collective {
namespace {

using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::testing::HasSubstr;

std::vector<float> numbers(int rank, size_t count) {
  core::Random random(static_cast<uint64_t>(rank) + 1);
  std::vector<float> values(count);
  for (float& value : values) {
    value = static_cast<float>(random.uniform() - 0.5);
  }
  return values;
}

constexpr size_t kTileElements = kFramePayloadBytesMax / sizeof(float);

// More tiles than the lag, and shares of different numbers of tiles.
TEST(DenseMeanTest, ManyTilesInPlaceAndApartAreTheSumsInOrder) {
  constexpr int kRanks = 3;
  constexpr size_t kElements = kRanks * (7 * kTileElements) + 1;
  std::vector<float> expected(kElements);
  std::vector<std::vector<float>> vectors;
  for (int rank = 0; rank < kRanks; ++rank) {
    vectors.push_back(numbers(rank, kElements));
  }
  for (size_t i = 0; i < kElements; ++i) {
    const double sum = double{vectors[0][i]} + double{vectors[1][i]} + double{vectors[2][i]};
    expected[i] = static_cast<float>(sum / kRanks);
  }
  InProcessNetwork network(kRanks);
  Transports transports = laconic::testing::in_process_world(network, kRanks);
  on_all_ranks(kRanks, [&](int rank) {
    const auto r = static_cast<size_t>(rank);
    Communicator communicator(*transports[r], 1, kTestDeadline);
    std::vector<float> mean(kElements);
    ASSERT_OK(communicator.all_reduce_mean(vectors[r], mean, {}));
    EXPECT_TRUE(mean == expected);
    EXPECT_TRUE(vectors[r] == numbers(rank, kElements));
    ASSERT_OK(communicator.all_reduce_mean(vectors[r], {}));
    EXPECT_TRUE(vectors[r] == expected);
  });
}

// Rank 1 answers the first tiles of its peer and goes away: what came is not in v.
TEST(DenseMeanTest, PeerLostAfterSomeResultsLeavesTheVector) {
  constexpr size_t kElements = 2 * 7 * kTileElements;
  InProcessNetwork network(2);
  Transports transports = laconic::testing::in_process_world(network, 2);
  on_all_ranks(2, [&](int rank) {
    if (rank == 0) {
      Communicator communicator(*transports[0], 1, kTestDeadline);
      std::vector<float> values = numbers(0, kElements);
      EXPECT_THAT(communicator.all_reduce_mean(values, {}),
                  StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1")));
      EXPECT_EQ(communicator.failed_rank(), 1);
      EXPECT_GT(communicator.operation_bytes().received, int64_t{6} << 20);
      EXPECT_TRUE(values == numbers(0, kElements));
      return;
    }
    FrameChannel channel(*transports[1], 1, kTestDeadline);
    FrameHeader sums = channel.start(FrameKind::kPart, {}, 2);
    sums.payload_bytes_total = sizeof(float) * kElements / 2;
    FrameHeader results = sums;
    results.kind = FrameKind::kReduced;
    ++results.op_sequence;
    const Payload tile(std::vector<uint8_t>(static_cast<size_t>(kFramePayloadBytesMax)));
    for (uint32_t step = 0; step < 6; ++step) {
      if (step > 4) {
        results.tile = step - 5;
        ASSERT_OK(channel.send(0, results, tile));
      }
      sums.tile = step;
      ASSERT_OK(channel.send(0, sums, tile));
    }
    // Sums 0 to 4, then a result before each sum: once the sixth result is here, all of ours are
    // taken.
    for (int sum = 0, result = 0; result < 6;) {
      const bool result_next = sum > 4 && (sum == 7 || result < sum - 4);
      ASSERT_OK(channel.receive(0, result_next ? results : sums, 0).status());
      ++(result_next ? result : sum);
    }
    transports[1].reset();
  });
}

TEST(DenseMeanTest, DifferentLengthsAreRefused) {
  InProcessNetwork network(1);
  Transports transports = laconic::testing::in_process_world(network, 1);
  Communicator communicator(*transports[0], 1, kTestDeadline);
  std::vector<float> values(3);
  std::vector<float> mean(2);
  EXPECT_THAT(communicator.all_reduce_mean(values, mean, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 elements")));
}

}  // namespace
}  // namespace laconic::collective
