#include "common/core/digest.h"

#include <gtest/gtest.h>

#include <vector>

namespace laconic::core {
namespace {

// xxHash 0.8: XXH3_64bits of no bytes, with seed 0.
TEST(DigestTest, MatchesThePublishedValueOfNoBytes) {
  EXPECT_EQ(digest(std::span<const uint8_t>{}), 0x2D06800538D394C2u);
}

TEST(DigestTest, FloatsAndTheirBytesAgree) {
  const std::vector<float> values{1.0F, -2.5F, 0.0F};
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  EXPECT_EQ(digest(std::span<const float>(values)), digest(std::span(bytes, 12)));
}

TEST(DigestTest, SeesTheSignOfZero) {
  const std::vector<float> plus{0.0F};
  const std::vector<float> minus{-0.0F};
  EXPECT_NE(digest(std::span<const float>(plus)), digest(std::span<const float>(minus)));
}

TEST(FormatDigestTest, WritesSixteenDigits) {
  EXPECT_EQ(format_digest(0x1F), "000000000000001f");
  EXPECT_EQ(format_digest(UINT64_MAX), "ffffffffffffffff");
}

}  // namespace
}  // namespace laconic::core
