#include "common/collective/link_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/collective/planner.h"
#include "tests/collective/world.h"
#include "tests/testing/status_matchers.h"

namespace laconic::collective {
namespace {

using ::laconic::testing::in_process_world;
using ::laconic::testing::kTestDeadline;
using ::laconic::testing::on_all_ranks;
using ::laconic::testing::StatusIs;
using ::laconic::testing::Transports;
using ::laconic::testing::world_name;
using ::laconic::testing::WorldKind;
using ::laconic::testing::worlds_with_peers;
using ::testing::_;

constexpr uint64_t kGeneration = 3;

class LinkProbeTest : public ::testing::TestWithParam<WorldKind> {};

TEST_P(LinkProbeTest, AllRanksGetTheSameNumbersAndThePlanFollowsFromThem) {
  const Transports transports = GetParam().make(kGeneration);
  const auto ranks = static_cast<size_t>(GetParam().world_size);
  std::vector<LinkCost> links(ranks);
  std::vector<CodecCost> codecs(ranks);
  on_all_ranks(GetParam().world_size, [&](int rank) {
    const auto at = static_cast<size_t>(rank);
    Communicator communicator(*transports[at], kGeneration, kTestDeadline);
    ASSERT_OK_AND_ASSIGN(links[at], probe_links(communicator, {.round = 2}, kProbeBytesMax));
    core::CodecSpec spec;
    spec.kind = core::CodecKind::kQuantize;
    spec.bits = 8;
    const core::Layout layout{{{.name = "all", .rows = 1, .columns = 5000}}};
    ASSERT_OK_AND_ASSIGN(const auto codec, compress::make_codec(spec, layout));
    ASSERT_OK_AND_ASSIGN(codecs[at], probe_codec(communicator, *codec, 10'000, {.round = 2}));
  });
  for (size_t r = 0; r < ranks; ++r) {
    EXPECT_EQ(links[r].latency_seconds, links[0].latency_seconds);
    EXPECT_EQ(links[r].bytes_per_second, links[0].bytes_per_second);
    EXPECT_EQ(codecs[r].encode_seconds, codecs[0].encode_seconds);
    EXPECT_EQ(codecs[r].error, codecs[0].error);
  }
  EXPECT_GT(links[0].bytes_per_second, 1e5);
  // Two codecs' worth of 5000 elements: 20 blocks of 2 + 256 bytes each.
  EXPECT_NEAR(static_cast<double>(codecs[0].payload_bytes), 10'000 * (1 + 2.0 / 256), 5);
  EXPECT_GT(codecs[0].encode_seconds, 0);
  EXPECT_GT(codecs[0].error, 1e-6);
  EXPECT_LT(codecs[0].error, 1e-3);
  const std::vector<Candidate> candidates = {{"int8", codecs[0]}};
  EXPECT_OK(make_plan({.world_size = GetParam().world_size, .link = links[0], .error_budget = 1},
                      candidates)
                .status());
}

INSTANTIATE_TEST_SUITE_P(Worlds, LinkProbeTest, ::testing::ValuesIn(worlds_with_peers()),
                         world_name);

TEST(LinkProbeTrafficTest, SmallModelIsProbedWithLittle) {
  InProcessNetwork network(2);
  const Transports transports = in_process_world(network, 2);
  on_all_ranks(2, [&](int rank) {
    Communicator communicator(*transports[static_cast<size_t>(rank)], kGeneration, kTestDeadline);
    ASSERT_OK(probe_links(communicator, {}, /*payload_bytes=*/1).status());
    EXPECT_LT(communicator.bytes().sent, 2 * kFirstProbeBytes);
  });
}

TEST(LinkProbeFailureTest, LostPeerEndsTheProbe) {
  InProcessNetwork network(2);
  Transports transports = in_process_world(network, 2);
  transports[1].reset();
  Communicator communicator(*transports[0], kGeneration, kTestDeadline);
  EXPECT_THAT(probe_links(communicator, {}, kProbeBytesMax),
              StatusIs(absl::StatusCode::kUnavailable, _));
}

}  // namespace
}  // namespace laconic::collective
