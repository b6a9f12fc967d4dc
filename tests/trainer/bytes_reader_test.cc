#include "worker/trainer/bytes_reader.h"

#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"
#include "tests/trainer/data_files.h"

namespace laconic::trainer {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

std::string text_of(const std::string& path) {
  const std::vector<uint8_t> bytes = read_text(path).value();
  return {bytes.begin(), bytes.end()};
}

TEST(BytesReaderTest, ReadsOneFileAsItIs) {
  const TemporaryDirectory directory;
  EXPECT_EQ(text_of(directory.write("a", "x\xff\n")), "x\xff\n");
}

TEST(BytesReaderTest, JoinsADirectoryInNameOrder) {
  const TemporaryDirectory directory;
  directory.write("b/z", "2");
  directory.write("c", "3");
  directory.write("a", "1");
  directory.write("empty", "");
  EXPECT_EQ(text_of(directory.path()), "123");
}

TEST(BytesReaderTest, ReadsALinkedFileOnceAndPassesOverDanglingLinks) {
  const TemporaryDirectory directory;
  directory.write("b", "text");
  std::filesystem::create_symlink("b", directory.file("a"));
  std::filesystem::create_symlink("nowhere", directory.file("c"));
  EXPECT_EQ(text_of(directory.path()), "text");
}

TEST(BytesReaderTest, RefusesAMissingPath) {
  EXPECT_THAT(read_text("/no/such/text"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("/no/such/text")));
}

TEST(BytesReaderTest, RefusesADirectoryWithoutText) {
  const TemporaryDirectory directory;
  directory.write("empty", "");
  EXPECT_THAT(read_text(directory.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not one byte")));
}

}  // namespace
}  // namespace laconic::trainer
