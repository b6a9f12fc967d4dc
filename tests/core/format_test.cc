#include "common/core/format.h"

#include <gtest/gtest.h>

namespace laconic::core {
namespace {

TEST(FormatBytesTest, KeepsThreeDigitsInPowersOfThousand) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1000), "1.00 kB");
  EXPECT_EQ(format_bytes(52'705), "52.7 kB");
  EXPECT_EQ(format_bytes(999'999), "1.00 MB");
  EXPECT_EQ(format_bytes(1'770'896'400), "1.77 GB");
}

TEST(FormatDurationTest, UsesTheTwoLargestUnits) {
  EXPECT_EQ(format_duration(absl::Seconds(4.24)), "4.2 s");
  EXPECT_EQ(format_duration(absl::Seconds(45)), "45 s");
  EXPECT_EQ(format_duration(absl::Seconds(200)), "3 min 20 s");
  EXPECT_EQ(format_duration(absl::Minutes(125)), "2 h 5 min");
}

TEST(FormatCountTest, SeparatesThousands) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(421'642), "421,642");
  EXPECT_EQ(format_count(-1'000), "-1,000");
}

TEST(FormatRatioTest, DropsDecimalsAsTheRatioGrows) {
  EXPECT_EQ(format_ratio(0.5), "0.50x");
  EXPECT_EQ(format_ratio(3.42), "3.4x");
  EXPECT_EQ(format_ratio(504.4), "504x");
  EXPECT_EQ(format_ratio(1020), "1,020x");
}

TEST(ShortenedTest, KeepsWhatFits) {
  EXPECT_EQ(shortened("", 0), "");
  EXPECT_EQ(shortened("abc", 3), "abc");
  EXPECT_EQ(shortened("\xC3\xA9", 2), "\xC3\xA9");
}

TEST(ShortenedTest, CutsTextOfOneByteLettersAtTheLimit) {
  EXPECT_EQ(shortened("abcd", 3), "abc");
  EXPECT_EQ(shortened("abcd", 0), "");
}

TEST(ShortenedTest, LeavesALetterOutThatDoesNotFitWhole) {
  const std::string four_bytes = "ab\xF0\x9F\x98\x80z";  // U+1F600
  EXPECT_EQ(shortened(four_bytes, 2), "ab");
  EXPECT_EQ(shortened(four_bytes, 3), "ab");
  EXPECT_EQ(shortened(four_bytes, 5), "ab");
  EXPECT_EQ(shortened(four_bytes, 6), "ab\xF0\x9F\x98\x80");
  EXPECT_EQ(shortened("\xC3\xA9", 1), "");
}

}  // namespace
}  // namespace laconic::core
