#include "worker/agent/last_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace laconic::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(LastLinesTest, KeepsTheNewestFiftyInOrder) {
  std::string text;
  for (int i = 0; i < 60; ++i) {
    text += "line " + std::to_string(i) + "\n";
  }
  const std::vector<std::string> lines = last_lines(text);
  ASSERT_EQ(lines.size(), kLastLinesMax);
  EXPECT_EQ(lines.front(), "line 10");
  EXPECT_EQ(lines.back(), "line 59");
}

TEST(LastLinesTest, UnfinishedLastLineCounts) {
  EXPECT_THAT(last_lines("one\ntwo"), ElementsAre("one", "two"));
}

TEST(LastLinesTest, NothingComesFromNothing) {
  EXPECT_THAT(last_lines(""), IsEmpty());
  EXPECT_THAT(last_lines("\n\r\n\n"), IsEmpty());
  EXPECT_THAT(last_lines_of_file("/does/not/exist"), IsEmpty());
}

TEST(LastLinesTest, CarriageReturnsOfProgressBarsEndLines) {
  EXPECT_THAT(last_lines("10%\r20%\rdone\n"), ElementsAre("10%", "20%", "done"));
}

TEST(LastLinesTest, LongLineIsCut) {
  EXPECT_THAT(last_lines(std::string(100000, 'x')), ElementsAre(std::string(400, 'x')));
}

TEST(LastLinesTest, InvalidUtf8IsReplaced) {
  EXPECT_EQ(valid_utf8("a\xFF"
                       "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(valid_utf8("\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"),
            "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80");
  // Overlong, surrogate, above U+10FFFF, cut off.
  EXPECT_EQ(valid_utf8("\xC0\xAF"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(valid_utf8("\xF4\x90\x80\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(valid_utf8("\xE2\x82"), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(LastLinesTest, EscapeSequencesLoseTheirEscape) {
  EXPECT_EQ(valid_utf8("\x1B[31m"), " [31m");
}

}  // namespace
}  // namespace laconic::agent
