#include "worker/trainer/whole_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/testing/status_matchers.h"
#include "tests/trainer/data_files.h"

namespace laconic::trainer {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(WholeFileTest, PartsFollowEachOtherAndReplaceTheOldFile) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("m", "something longer than the new content");
  const std::string first = "ab", second = "cde";
  const std::span<const std::byte> parts[] = {std::as_bytes(std::span(first)),
                                              std::as_bytes(std::span(second))};
  ASSERT_OK(write_whole(
      path, [&](const std::string& temporary) { return write_parts(temporary, parts); }));
  EXPECT_EQ(content(path), "abcde");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

TEST(WholeFileTest, FailedWritesLeaveTheOldFileAlone) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("m", "old");
  const absl::Status full = write_whole(path, [&](const std::string& temporary) {
    std::ofstream(temporary) << "half";
    return absl::InternalError("disk full");
  });
  EXPECT_THAT(full, StatusIs(absl::StatusCode::kInternal, HasSubstr("disk full")));
  EXPECT_EQ(content(path), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

TEST(WholeFileTest, AFullDiskIsAnError) {
  const std::string text(100'000, 'x');
  const std::span<const std::byte> part = std::as_bytes(std::span(text));
  EXPECT_THAT(write_parts("/dev/full", {&part, 1}),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("/dev/full: No space left")));
}

}  // namespace
}  // namespace laconic::trainer
