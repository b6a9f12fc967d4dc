#include "server/reasons.h"
#include "tests/testing/paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <sstream>
#include <string>

namespace laconic::server {
namespace {

std::string text_of(const std::string& path) {
  std::ifstream file(testing::source_dir() + "/" + path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(ReasonsTest, EveryReasonInTheHeaderStandsInTheDocs) {
  const std::string header = text_of("server/reasons.h");
  const std::string docs = text_of("docs/errors.md");
  const std::regex quoted("= \"([A-Z_]+)\"");
  int count = 0;
  for (std::sregex_iterator it(header.begin(), header.end(), quoted), end; it != end; ++it) {
    EXPECT_THAT(docs, ::testing::HasSubstr("| `" + (*it)[1].str() + "` |"));
    EXPECT_TRUE(is_reason((*it)[1].str()));
    ++count;
  }
  EXPECT_GT(count, 50);
}

TEST(ReasonsTest, ReasonsAreShortUpperSnakeCase) {
  EXPECT_TRUE(is_reason("BAD_DATA_2"));
  for (const std::string text : {"", "bad", "2BAD", "_BAD", "BAD DATA", "BAD-DATA"}) {
    EXPECT_FALSE(is_reason(text)) << text;
  }
  EXPECT_TRUE(is_reason(std::string(63, 'A')));
  EXPECT_FALSE(is_reason(std::string(64, 'A')));
}

}  // namespace
}  // namespace laconic::server
