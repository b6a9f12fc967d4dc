#include "common/collective/star.h"

#include <numeric>
#include <optional>

#include "tests/collective/world.h"

namespace laconic::collective {
namespace {

using ::laconic::testing::all_worlds;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::laconic::testing::world_name;
using ::laconic::testing::WorldKind;
using ::testing::HasSubstr;

std::vector<uint8_t> bytes_of(int rank, size_t size) {
  std::vector<uint8_t> bytes(size);
  std::iota(bytes.begin(), bytes.end(), static_cast<uint8_t>(rank));
  return bytes;
}

// Each rank's size is another one: none, one byte, more than one tile.
size_t size_of(int rank) {
  constexpr size_t kTile = kFramePayloadBytesMax;
  const size_t sizes[] = {5, 0, 2 * kTile + 1, 1, kTile};
  return sizes[rank % 5];
}

class StarTest : public ::testing::TestWithParam<WorldKind> {};

TEST_P(StarTest, AnchorGetsEveryPayloadAndAllGetTheAnchors) {
  const int world_size = GetParam().world_size;
  const int anchor = world_size - 1;
  Transports transports = GetParam().make(1);
  on_all_ranks(world_size, [&](int rank) {
    Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
    Star star(communicator, anchor);
    const Payload own(bytes_of(rank, size_of(rank)));
    const auto gathered = star.gather(own, 1 << 24, {.round = 1});
    ASSERT_OK(gathered.status());
    ASSERT_EQ(gathered->size(), rank == anchor ? static_cast<size_t>(world_size) : 0);
    for (size_t r = 0; r < gathered->size(); ++r) {
      const auto bytes = (*gathered)[r].bytes();
      const int sender = static_cast<int>(r);
      EXPECT_EQ(std::vector<uint8_t>(bytes.begin(), bytes.end()),
                bytes_of(sender, size_of(sender)));
    }
    const auto all = star.broadcast(own, 1 << 24, {.round = 2});
    ASSERT_OK(all.status());
    EXPECT_EQ(std::vector<uint8_t>(all->bytes().begin(), all->bytes().end()),
              bytes_of(anchor, size_of(anchor)));
  });
}

INSTANTIATE_TEST_SUITE_P(Worlds, StarTest, ::testing::ValuesIn(all_worlds()), world_name);

// Two ranks, in one process: what rank 0, the anchor, makes of what rank 1 did.
absl::Status anchors_status(const std::function<absl::Status(Star&)>& sender,
                            const std::function<absl::Status(Star&)>& anchor,
                            const std::function<void(InProcessNetwork&)>& fault = {}) {
  InProcessNetwork network(2);
  Transports transports = laconic::testing::in_process_world(network, 2);
  if (fault) {
    fault(network);
  }
  absl::Status status;
  on_all_ranks(2, [&](int rank) {
    Communicator communicator(*transports[static_cast<size_t>(rank)], 1, kTestDeadline);
    Star star(communicator, 0);
    if (rank == 0) {
      status = anchor(star);
    } else {
      sender(star).IgnoreError();
    }
  });
  return status;
}

absl::Status gather(Star& star, size_t bytes, int64_t bytes_max, uint64_t round) {
  return star.gather(Payload(std::vector<uint8_t>(bytes)), bytes_max, {.round = round}).status();
}

TEST(StarTest, PayloadAboveTheBoundIsRefused) {
  EXPECT_THAT(anchors_status([](Star& star) { return gather(star, 11, 100, 1); },
                             [](Star& star) { return gather(star, 0, 10, 1); }),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("11")));
}

TEST(StarTest, OwnPayloadAboveTheBoundIsRefusedBeforeItIsSent) {
  EXPECT_THAT(anchors_status([](Star& star) { return gather(star, 0, 10, 1); },
                             [](Star& star) { return gather(star, 11, 10, 1); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("gather: payload of 11")));
}

TEST(StarTest, FlippedByteIsFound) {
  EXPECT_THAT(anchors_status([](Star& star) { return gather(star, 100, 100, 1); },
                             [](Star& star) { return gather(star, 0, 100, 1); },
                             [](InProcessNetwork& network) {
                               network.corrupt_next(1, 0, kFrameHeaderBytes + 50);
                             }),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("rank 1")));
}

TEST(StarTest, AnotherRoundIsRefused) {
  EXPECT_THAT(anchors_status([](Star& star) { return gather(star, 1, 10, 7); },
                             [](Star& star) { return gather(star, 0, 10, 8); }),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("round")));
}

}  // namespace
}  // namespace laconic::collective
