#include "worker/agent/log_shipper.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace laconic::agent {
namespace {

const TaskId kTask{"job1", 1, 0};
const absl::Time kStart = absl::UnixEpoch();

class LogShipperTest : public ::testing::Test {
 protected:
  LogShipperTest() {
    std::string path = ::testing::TempDir() + "/shipper-XXXXXX";
    directory_ = mkdtemp(path.data());
  }
  ~LogShipperTest() override { std::filesystem::remove_all(directory_); }

  std::string out() const { return directory_ + "/out"; }
  std::string err() const { return directory_ + "/err"; }
  static void append(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::app | std::ios::binary) << text;
  }
  static std::string drain(LogShipper& shipper, absl::Time now) {
    std::string text;
    while (auto chunk = shipper.next_chunk(now)) {
      text += chunk->data();
      now += absl::Seconds(1);
    }
    return text;
  }

  std::string directory_;
};

TEST_F(LogShipperTest, SendsWhatWasAppendedOnce) {
  LogShipper shipper;
  shipper.add(kTask, out(), err());
  EXPECT_FALSE(shipper.next_chunk(kStart).has_value());
  append(out(), "one");
  EXPECT_EQ(drain(shipper, kStart), "one");
  append(out(), "two");
  const auto chunk = shipper.next_chunk(kStart + absl::Seconds(1));
  ASSERT_TRUE(chunk.has_value());
  EXPECT_EQ(chunk->offset(), 3);
  EXPECT_EQ(chunk->data(), "two");
  EXPECT_EQ(chunk->source(), v1::STDOUT);
}

TEST_F(LogShipperTest, ResumesWhereTheServerStands) {
  append(out(), "0123456789");
  append(err(), "abc");
  LogShipper shipper;
  shipper.add(kTask, out(), err());
  drain(shipper, kStart);
  v1::Welcome welcome;
  v1::LogOffset* offset = welcome.add_log_offsets();
  *offset->mutable_key() = task_key(kTask);
  offset->set_source(v1::STDOUT);
  offset->set_offset(7);
  shipper.resume(welcome.log_offsets());
  EXPECT_FALSE(shipper.drained(kTask));
  // Standard error is not listed, so the server has none of it.
  EXPECT_EQ(drain(shipper, kStart + absl::Seconds(9)), "789abc");
  EXPECT_TRUE(shipper.drained(kTask));
}

TEST_F(LogShipperTest, SendsAgainFromWhereTheServerCouldNotWriteAfterAWait) {
  append(out(), "0123456789");
  append(err(), "abc");
  LogShipper shipper;
  shipper.add(kTask, out(), err());
  drain(shipper, kStart);
  v1::LogOffset offset;
  *offset.mutable_key() = task_key(kTask);
  offset.set_source(v1::STDOUT);
  offset.set_offset(4);
  shipper.resend(offset, kStart);
  EXPECT_FALSE(shipper.drained(kTask));
  // The other log does not wait.
  append(err(), "def");
  EXPECT_EQ(shipper.next_chunk(kStart)->data(), "def");
  EXPECT_FALSE(shipper.next_chunk(kStart + kLogResendWait / 2).has_value());
  const auto chunk = shipper.next_chunk(kStart + kLogResendWait);
  ASSERT_TRUE(chunk.has_value());
  EXPECT_EQ(chunk->offset(), 4);
  EXPECT_EQ(chunk->data(), "456789");
  EXPECT_TRUE(shipper.drained(kTask));
}

TEST_F(LogShipperTest, ResendOfAnUnknownTaskOrFromANegativeOffsetIsHarmless) {
  append(out(), "0123");
  LogShipper shipper;
  shipper.add(kTask, out(), err());
  drain(shipper, kStart);
  v1::LogOffset offset;
  *offset.mutable_key() = task_key({"another", 1, 0});
  offset.set_source(v1::STDOUT);
  shipper.resend(offset, kStart);
  EXPECT_TRUE(shipper.drained(kTask));
  *offset.mutable_key() = task_key(kTask);
  offset.set_offset(-7);
  shipper.resend(offset, kStart);
  EXPECT_EQ(shipper.next_chunk(kStart + kLogResendWait)->offset(), 0);
}

TEST_F(LogShipperTest, NewSessionDoesNotWaitForAResend) {
  append(out(), "0123");
  LogShipper shipper;
  shipper.add(kTask, out(), err());
  v1::LogOffset offset;
  *offset.mutable_key() = task_key(kTask);
  offset.set_source(v1::STDOUT);
  shipper.resend(offset, kStart);
  shipper.resume({});
  EXPECT_TRUE(shipper.next_chunk(kStart).has_value());
}

TEST_F(LogShipperTest, OffsetBeyondTheFileSendsNothing) {
  append(out(), "0123");
  LogShipper shipper;
  shipper.add(kTask, out(), err());
  v1::Welcome welcome;
  v1::LogOffset* offset = welcome.add_log_offsets();
  *offset->mutable_key() = task_key(kTask);
  offset->set_source(v1::STDOUT);
  offset->set_offset(99);
  shipper.resume(welcome.log_offsets());
  EXPECT_EQ(drain(shipper, kStart), "");
  EXPECT_TRUE(shipper.drained(kTask));
}

TEST_F(LogShipperTest, ChunksHoldAtMost64KiB) {
  append(out(), std::string(kLogChunkBytesMax + 1, 'x'));
  LogShipper shipper;
  shipper.add(kTask, out(), err());
  EXPECT_EQ(static_cast<int64_t>(shipper.next_chunk(kStart)->data().size()), kLogChunkBytesMax);
  EXPECT_EQ(shipper.next_chunk(kStart)->data().size(), 1u);
}

TEST_F(LogShipperTest, RateIsBounded) {
  append(out(), std::string(4 << 20, 'x'));
  LogShipper shipper;
  shipper.add(kTask, out(), err());
  int64_t bytes = 0;
  while (auto chunk = shipper.next_chunk(kStart)) {
    bytes += static_cast<int64_t>(chunk->data().size());
  }
  EXPECT_LE(bytes, kLogBurstBytes + kLogChunkBytesMax);
  EXPECT_FALSE(shipper.drained(kTask));
  EXPECT_TRUE(shipper.next_chunk(kStart + absl::Milliseconds(100)).has_value());
}

TEST_F(LogShipperTest, TasksTakeTurns) {
  const TaskId other{"job2", 1, 0};
  append(out(), std::string(4 * kLogChunkBytesMax, 'x'));
  append(err(), "y");
  LogShipper shipper;
  shipper.add(kTask, out(), directory_ + "/none");
  shipper.add(other, err(), directory_ + "/none");
  EXPECT_EQ(task_id(shipper.next_chunk(kStart)->key()), kTask);
  EXPECT_EQ(task_id(shipper.next_chunk(kStart)->key()), other);
}

TEST_F(LogShipperTest, LongLogIsCutWithANoteAndTheDiskIsFreed) {
  LogShipper shipper(/*file_bytes_max=*/1000);
  shipper.add(kTask, out(), err());
  append(out(), std::string(200000, 'x'));
  const std::string text = drain(shipper, kStart);
  EXPECT_EQ(text.substr(0, 1000), std::string(1000, 'x'));
  append(out(), std::string(500, '#'));
  const std::string rest = drain(shipper, kStart + absl::Minutes(1));
  EXPECT_NE((text + rest).find("cut here, a log holds at most 1000 bytes"), std::string::npos);
  EXPECT_EQ((text + rest).find('#'), std::string::npos);
  EXPECT_LE(std::filesystem::file_size(out()), 1000u + kLastLinesTailBytes);
  EXPECT_TRUE(shipper.drained(kTask));
}

TEST_F(LogShipperTest, RemovalKeepsAFileThatWasNotSentWhole) {
  append(out(), "sent");
  LogShipper shipper;
  shipper.add(kTask, out(), err());
  shipper.remove(kTask);
  EXPECT_TRUE(std::filesystem::exists(out()));
  shipper.add(kTask, out(), err());
  drain(shipper, kStart);
  shipper.remove(kTask);
  EXPECT_FALSE(std::filesystem::exists(out()));
}

}  // namespace
}  // namespace laconic::agent
