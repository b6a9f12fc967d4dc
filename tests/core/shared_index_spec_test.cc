#include "common/core/shared_index_spec.h"

#include <gtest/gtest.h>

#include "common/core/payload_size.h"
#include "common/core/schedule_choice.h"

namespace laconic::core {
namespace {

TEST(SharedIndexSpecTest, LeaderSendsTheDensityAndASketchWholeBlocks) {
  EXPECT_EQ(shared_values({.density = 0.01}, 1000), 10);
  EXPECT_EQ(shared_values({.density = 0.01}, 1), 1);
  const SharedIndexSpec sketch{.density = 0.1, .agreement = Agreement::kSketch, .block = 16};
  EXPECT_EQ(sketch_blocks(sketch, 160), 10);
  EXPECT_EQ(sketch_blocks(sketch, 161), 11);
  EXPECT_EQ(shared_values(sketch, 160), 16);
  EXPECT_EQ(shared_values(sketch, 1600), 160);
  // One block is the vector, whatever its length.
  EXPECT_EQ(shared_values(sketch, 1), 1);
  EXPECT_EQ(shared_values(sketch, 16), 16);
  EXPECT_EQ(shared_values(sketch, 17), 16);
}

TEST(SharedIndexSpecTest, OneRankSendsNothing) {
  EXPECT_EQ(shared_index_sent_bytes({.density = 0.01}, Schedule::kSharded, flat_layout(1000), 1),
            0);
}

// Shared elements cost s / g of the bytes and carry (1 + (P - 1) o) / P of the energy.
TEST(SharedIndexSpecTest, TheMoreRanksTheLessTheirSupportsMustOverlap) {
  const SharedIndexSpec spec{.density = 0.01, .value_bits = 8, .by_overlap = true};
  const Layout layout = flat_layout(1'000'000);
  EXPECT_GT(overlap_wanted(spec, layout, 1), 1);
  EXPECT_GT(overlap_wanted(spec, layout, 2), 1) << "an all-gather between two costs no more";
  EXPECT_NEAR(overlap_wanted(spec, layout, 4), 0.33, 0.04);
  EXPECT_NEAR(overlap_wanted(spec, layout, 8), 0.14, 0.02);
  const auto own = static_cast<double>(
      sent_bytes_expected(Schedule::kAllGather, own_index_codec(spec), layout, 8, 1));
  const auto shared =
      static_cast<double>(shared_index_sent_bytes(spec, Schedule::kSharded, layout, 8));
  EXPECT_NEAR((1 + 7 * overlap_wanted(spec, layout, 8)) / 8, shared / own, 1e-12);
}

// The point of it: an all-gather grows with P.
TEST(SharedIndexSpecTest, BytesOfTheLargestSenderStayBelowTwoPayloadsForEveryWorld) {
  constexpr int64_t kElements = 100'000'000;
  for (const SharedIndexSpec& spec :
       {SharedIndexSpec{.density = 0.01}, SharedIndexSpec{.density = 0.01, .value_bits = 8},
        SharedIndexSpec{.density = 0.01, .agreement = Agreement::kSketch}}) {
    const auto payload =
        static_cast<double>(shared_index_payload_bytes(spec, flat_layout(kElements)));
    for (const int world_size : {2, 3, 7, 16, 64}) {
      const auto sent = static_cast<double>(
          shared_index_sent_bytes(spec, Schedule::kSharded, flat_layout(kElements), world_size));
      const double peers = world_size - 1;
      EXPECT_NEAR(sent, 2 * peers / world_size * payload, 0.05 * payload) << world_size;
    }
  }
}

// Below three ranks plain top-k sends less: reference, 1.2.
TEST(SharedIndexSpecTest, BeatsAnAllGatherOfTopKFromThreeRanksOn) {
  const SharedIndexSpec spec{.density = 0.01, .value_bits = 8};
  const CodecSpec top_k{.kind = CodecKind::kTopK, .bits = 8, .density = 0.01};
  const Layout layout = flat_layout(10'000'000);
  const auto all_gather = [&](int world_size) {
    return sent_bytes_expected(Schedule::kAllGather, top_k, layout, world_size);
  };
  EXPECT_GT(100 * shared_index_sent_bytes(spec, Schedule::kSharded, layout, 2), 95 * all_gather(2));
  for (const int world_size : {3, 7, 16}) {
    EXPECT_LT(shared_index_sent_bytes(spec, Schedule::kSharded, layout, world_size),
              all_gather(world_size));
  }
}

}  // namespace
}  // namespace laconic::core
