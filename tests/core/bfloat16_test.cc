#include "common/core/bfloat16.h"

#include <gtest/gtest.h>

namespace laconic::core {
namespace {

constexpr double kFloatMax = std::numeric_limits<float>::max();
constexpr uint16_t kOne = 0x3F80;

TEST(Bfloat16Test, NearestBreaksTiesTowardTheEvenFraction) {
  EXPECT_EQ(bf16_nearest(1.0), kOne);
  EXPECT_EQ(bf16_nearest(1.0 + 0x1p-8), kOne);                // tie, 0x3F80 is even
  EXPECT_EQ(bf16_nearest(1.0 + 0x1.8p-7), kOne + 2);          // tie, 0x3F81 is odd
  EXPECT_EQ(bf16_nearest(1.0 + 0x1p-8 + 0x1p-20), kOne + 1);  // above the tie
}

TEST(Bfloat16Test, NearestNeverGivesAnInfinity) {
  EXPECT_EQ(bf16_nearest(kFloatMax), kBf16Largest);
}

TEST(Bfloat16Test, UpIsNeverBelowAndDownNeverAbove) {
  for (uint32_t bits = 1; bits < 0x7F000000; bits += 0x10001 * 37) {
    const double x = static_cast<double>(std::bit_cast<float>(bits)) * (1 + 0x1p-40);
    EXPECT_GE(static_cast<double>(bf16_value(bf16_up(x))), x);
    EXPECT_LE(static_cast<double>(bf16_value(bf16_down(x))), x);
    EXPECT_LE(bf16_up(x) - bf16_down(x), 1) << x;
  }
}

TEST(Bfloat16Test, KeepsItsOwnNumbersInEveryDirection) {
  for (uint32_t i = 0; i <= kBf16Largest; i += 251) {
    const auto bits = static_cast<uint16_t>(i);
    const auto x = static_cast<double>(bf16_value(bits));
    EXPECT_EQ(bf16_nearest(x), bits);
    EXPECT_EQ(bf16_up(x), bits);
    EXPECT_EQ(bf16_down(x), bits);
  }
}

TEST(Bfloat16Test, SmallestNumberRoundsUpToTheSmallestDenormal) {
  EXPECT_EQ(bf16_up(std::numeric_limits<float>::denorm_min()), 1);
  EXPECT_EQ(bf16_up(1e-300), 1);
  EXPECT_EQ(bf16_up(0), 0);
}

TEST(Bfloat16Test, RefusesInfinitiesNansAndSigns) {
  EXPECT_TRUE(is_bf16_magnitude(0));
  EXPECT_TRUE(is_bf16_magnitude(kBf16Largest));
  EXPECT_FALSE(is_bf16_magnitude(0x7F80));
  EXPECT_FALSE(is_bf16_magnitude(0x7FC0));
  EXPECT_FALSE(is_bf16_magnitude(0x8000));
  EXPECT_FALSE(is_bf16_magnitude(0xBF80));
}

}  // namespace
}  // namespace laconic::core
