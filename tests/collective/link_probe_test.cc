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

TEST(SiteProbeTest, BothKindsOfLinksAreMeasuredAndAllRanksGetTheSameNumbers) {
  for (const bool grpc : {false, true}) {
    Transports transports = WorldKind{grpc, 6}.make(kGeneration);
    std::vector<SiteLinks> links(6);
    std::vector<int64_t> sent(6);
    on_all_ranks(6, [&](int rank) {
      const auto at = static_cast<size_t>(rank);
      Communicator communicator(*transports[at], kGeneration, kTestDeadline);
      ASSERT_OK_AND_ASSIGN(links[at],
                           probe_sites(communicator, {.round = 2}, /*ranks_per_site=*/3, 1 << 20));
      // Nobody is left with frames that nobody took.
      ASSERT_OK(communicator.all_gather(Payload(), 0, {.round = 2}).status());
      // Two kinds of links: rank 0 sends bytes to ranks 1, 2 and 3 only.
      sent[at] = rank == 0 ? transports[0]->peer_bytes(4).payload_sent : 0;
    });
    for (const SiteLinks& one : links) {
      EXPECT_EQ(one.ranks_per_site, 3);
      EXPECT_EQ(one.inside.latency_seconds, links[0].inside.latency_seconds);
      EXPECT_EQ(one.inside.bytes_per_second, links[0].inside.bytes_per_second);
      EXPECT_EQ(one.between.latency_seconds, links[0].between.latency_seconds);
      EXPECT_EQ(one.between.bytes_per_second, links[0].between.bytes_per_second);
    }
    EXPECT_GT(links[0].inside.bytes_per_second, 1e5);
    EXPECT_GT(links[0].between.bytes_per_second, 1e5);
    EXPECT_LT(sent[0], 10'000) << "numbers alone go to ranks of other places";
    laconic::testing::finish_all(transports);
  }
}

TEST(SiteProbeTest, AKindOfLinkThatNobodyUsesIsNotMeasured) {
  InProcessNetwork network(2);
  const Transports transports = in_process_world(network, 2);
  on_all_ranks(2, [&](int rank) {
    Communicator communicator(*transports[static_cast<size_t>(rank)], kGeneration, kTestDeadline);
    ASSERT_OK_AND_ASSIGN(const SiteLinks one_site, probe_sites(communicator, {}, 2, 1));
    EXPECT_EQ(one_site.between.bytes_per_second, 1);
    ASSERT_OK_AND_ASSIGN(const SiteLinks single, probe_sites(communicator, {}, 1, 1));
    EXPECT_EQ(single.inside.bytes_per_second, 1);
    EXPECT_GT(single.between.bytes_per_second, 1);
  });
}

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
