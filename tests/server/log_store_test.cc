#include "server/log_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/testing/child_process.h"
#include "tests/testing/status_matchers.h"

namespace laconic::server {
namespace {

using ::laconic::testing::StatusIs;
using ::laconic::testing::TemporaryDirectory;
using ::testing::_;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Holds the files of this process to `bytes` each while it lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);  // EFBIG instead.
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
};

std::string numbered_lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&text, i, "\n");
  }
  return text;
}

class LogStoreTest : public ::testing::Test {
 protected:
  static Limits small() {
    Limits limits;
    limits.log_bytes_max = 10;
    return limits;
  }
  static v1::LogChunk chunk(int64_t offset, const std::string& data) {
    v1::LogChunk chunk;
    chunk.mutable_key()->set_job_id("a");
    chunk.set_source(v1::STDERR);
    chunk.set_offset(offset);
    chunk.set_data(data);
    return chunk;
  }
  std::string all(const LogStore& logs) { return *logs.read("a", 0, v1::STDERR, 0); }

  TemporaryDirectory directory_;
  LogStore logs_{directory_.path(), Limits()};
};

TEST_F(LogStoreTest, ChunkThatComesTwiceIsWrittenOnce) {
  ASSERT_OK(logs_.append(chunk(0, "one\n")));
  ASSERT_OK(logs_.append(chunk(0, "one\ntwo\n")));
  ASSERT_OK(logs_.append(chunk(4, "two\n")));
  EXPECT_EQ(all(logs_), "one\ntwo\n");
  EXPECT_EQ(logs_.arrived("a", 0, v1::STDERR), 8);
}

TEST_F(LogStoreTest, GapIsRefused) {
  ASSERT_OK(logs_.append(chunk(0, "one\n")));
  EXPECT_THAT(logs_.append(chunk(5, "x")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("only 4 bytes")));
  EXPECT_EQ(all(logs_), "one\n");
}

TEST_F(LogStoreTest, WhatCouldNotBeWrittenIsTakenLater) {
  const std::string text = numbered_lines(5000);
  ASSERT_OK(logs_.append(chunk(0, text.substr(0, 10))));
  {
    // The kernel refuses what goes beyond, as it does when the disk is full.
    const FileSizeLimit limit(10'000);
    EXPECT_THAT(logs_.append(chunk(10, text.substr(10, 20'000))),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("disk full")));
  }
  const int64_t have = logs_.arrived("a", 0, v1::STDERR);
  ASSERT_GE(have, 10);
  ASSERT_LE(have, 10'000);
  EXPECT_THAT(logs_.append(chunk(20'010, "what follows")),
              StatusIs(absl::StatusCode::kFailedPrecondition, _));
  ASSERT_OK(logs_.append(chunk(have, text.substr(static_cast<size_t>(have)))));
  EXPECT_EQ(all(logs_), text);
}

TEST_F(LogStoreTest, RefusesNegativeOffsetsAndOversizedChunks) {
  EXPECT_THAT(logs_.append(chunk(-1, "x")), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(logs_.append(chunk(0, std::string(LogStore::kChunkBytesMax + 1, 'x'))),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST_F(LogStoreTest, LimitEndsTheFileWithANoteAndCountsTheRest) {
  LogStore logs(directory_.path(), small());
  ASSERT_OK(logs.append(chunk(0, "0123456789abcdef")));
  ASSERT_OK(logs.append(chunk(16, "more")));
  EXPECT_THAT(all(logs), StartsWith("0123456789\nlaconic: the limit of 10 bytes"));
  EXPECT_THAT(all(logs), EndsWith("on the node\n"));
  EXPECT_EQ(logs.arrived("a", 0, v1::STDERR), 10);
  EXPECT_EQ(logs.dropped_bytes(), 10);
}

TEST_F(LogStoreTest, TailBeginsAtTheLastLines) {
  ASSERT_OK(logs_.append(chunk(0, "one\ntwo\nthree\n")));
  EXPECT_EQ(logs_.tail_start("a", 0, v1::STDERR, 0), 14);
  EXPECT_EQ(logs_.tail_start("a", 0, v1::STDERR, 1), 8);
  EXPECT_EQ(logs_.tail_start("a", 0, v1::STDERR, 2), 4);
  EXPECT_EQ(logs_.tail_start("a", 0, v1::STDERR, 9), 0);
  EXPECT_EQ(logs_.tail_start("none", 0, v1::STDERR, 9), 0);
}

TEST_F(LogStoreTest, DroppedJobHasNoOutput) {
  ASSERT_OK(logs_.append(chunk(0, "one\n")));
  logs_.drop("a");
  EXPECT_EQ(all(logs_), "");
  EXPECT_EQ(logs_.arrived("a", 0, v1::STDERR), 0);
}

}  // namespace
}  // namespace laconic::server
