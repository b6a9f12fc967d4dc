#include "common/core/partition.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/core/payload_size.h"

namespace laconic::core {
namespace {

constexpr CodecSpec kRows = {.kind = CodecKind::kQuantize, .bits = 1, .rows = true};
constexpr CodecSpec kBlocks = {.kind = CodecKind::kQuantize, .bits = 8, .block = 256};
constexpr CodecSpec kTopK = {.kind = CodecKind::kTopK, .bits = 4, .density = 0.01};

Layout conv_net() {
  return {{{"conv1.weight", 32, 9},
           {"conv1.bias", 1, 32},
           {"conv2.weight", 64, 288},
           {"conv2.bias", 1, 64},
           {"dense1.weight", 128, 3136},
           {"dense1.bias", 1, 128},
           {"dense2.weight", 10, 128},
           {"dense2.bias", 1, 10}}};
}
Layout vector_of(int64_t elements) {
  return {{{.name = "w", .rows = 1, .columns = elements}}};
}

std::vector<int64_t> bytes_by_owner(const CodecSpec& spec, const std::vector<Part>& parts,
                                    int owners) {
  std::vector<int64_t> bytes(static_cast<size_t>(owners));
  for (const Part& part : parts) {
    bytes[static_cast<size_t>(part.owner)] += payload_bytes_max(spec, part.layout);
  }
  return bytes;
}

TEST(SliceTest, KeepsWholeRowsAndCutsTheRestIntoRowsOfTheirOwn) {
  const Layout layout = {{{"a", 3, 5}, {"b", 1, 4}}};
  EXPECT_EQ(slice(layout, 0, 19), layout);
  EXPECT_EQ(slice(layout, 2, 17).tensors,
            (std::vector<TensorShape>{{"a", 1, 3}, {"a", 2, 5}, {"b", 1, 2}}));
  EXPECT_EQ(slice(layout, 6, 9).tensors, (std::vector<TensorShape>{{"a", 1, 3}}));
  EXPECT_EQ(slice(layout, 5, 12).tensors, (std::vector<TensorShape>{{"a", 1, 5}, {"a", 1, 2}}));
}

TEST(PartitionTest, PartsCoverTheVectorOnceInOrder) {
  for (const CodecSpec& spec : {CodecSpec{}, kRows, kBlocks, kTopK}) {
    for (const int64_t elements : {1, 2, 7, 16, 17, 255, 257, 4099, 1'000'003}) {
      for (int owners = 1; owners <= 17; ++owners) {
        SCOPED_TRACE(absl::StrCat(elements, " elements, ", owners, " owners"));
        int64_t end = 0;
        int owner = 0;
        for (const Part& part : cut_into_parts(spec, vector_of(elements), owners)) {
          EXPECT_EQ(part.begin, end);
          EXPECT_GE(part.elements, 1);
          EXPECT_EQ(part.layout.elements(), part.elements);
          EXPECT_GE(part.owner, owner);
          EXPECT_LE(payload_bytes_max(spec, part.layout), kPartBytesMax);
          end = part.begin + part.elements;
          owner = part.owner;
        }
        EXPECT_EQ(end, elements);
        EXPECT_LT(owner, owners);
      }
    }
  }
}

TEST(PartitionTest, OwnersGetEqualPayloadsToWithinATenth) {
  for (const CodecSpec& spec : {CodecSpec{}, kRows, kBlocks, kTopK}) {
    for (int owners = 2; owners <= 17; ++owners) {
      const std::vector<int64_t> bytes =
          bytes_by_owner(spec, cut_into_parts(spec, conv_net(), owners), owners);
      const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
      // Each of the two borders moves by 5 % of a share at most, and a cut row starts a new scale.
      EXPECT_LE(*most, *least * 23 / 20) << owners << " owners";
    }
  }
}

TEST(PartitionTest, CutsAtRowsWhereOneIsNear) {
  for (const Part& part : cut_into_parts(kRows, {{{"w", 1000, 50}}}, 7)) {
    EXPECT_EQ(part.begin % 50, 0);
  }
}

TEST(PartitionTest, CutsARowThatIsLongerThanAShare) {
  const std::vector<Part> parts = cut_into_parts(kRows, {{{"w", 2, 100'000}}}, 8);
  ASSERT_EQ(parts.size(), 8U);
  EXPECT_EQ(parts[1].begin, 25'000);
}

TEST(PartitionTest, CutsAtBlocksWhereOneIsNear) {
  for (const Part& part : cut_into_parts(kBlocks, vector_of(1'000'000), 7)) {
    EXPECT_EQ(part.begin % 256, 0);
  }
}

TEST(PartitionTest, CutsLargeSharesIntoTilesOfAtMostOneFrame) {
  const std::vector<Part> parts = cut_into_parts(kBlocks, vector_of(40'000'000), 2);
  EXPECT_EQ(parts.size(), 40U);  // 20.16 MB each, in tiles of 1 MiB at most.
  const std::vector<Part> middle = cut_into_parts(kBlocks, vector_of(2'000'000), 2);
  EXPECT_EQ(middle.size(), 16U);  // 1.008 MB each, an eighth per tile.
  const std::vector<Part> small = cut_into_parts(kBlocks, vector_of(100'000), 2);
  EXPECT_EQ(small.size(), 2U);  // Below kPartBytesMin: not cut.
}

// Bytes per element differ tenfold between the tensors: a cut by elements alone would be too large.
TEST(PartitionTest, TilesStayBelowOneFrameWhereRowsAreShort) {
  const Layout layout = {{{"short", 20'000'000, 1}, {"long", 100, 1'000'000}}};
  for (const Part& part : cut_into_parts(kRows, layout, 3)) {
    EXPECT_LE(payload_bytes_max(kRows, part.layout), kPartBytesMax);
  }
}

TEST(PartitionTest, FewerElementsThanOwnersLeaveTheLastWithoutAPart) {
  const std::vector<Part> parts = cut_into_parts(kRows, vector_of(3), 5);
  ASSERT_EQ(parts.size(), 3U);
  EXPECT_EQ(parts[2].owner, 2);
  EXPECT_EQ(parts[2].begin, 2);
}

}  // namespace
}  // namespace laconic::core
