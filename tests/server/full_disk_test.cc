// The server on a real disk that is full, and then is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/wire/status.h"
#include "server/reasons.h"
#include "tests/server/server_fixture.h"
#include "tests/testing/small_disk.h"

namespace laconic::server {
namespace {

using ::laconic::testing::SmallDisk;
using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

class FullDiskTest : public ServerTest {
 protected:
  void SetUp() override {
    if (!disk_.why_not().empty()) {
      GTEST_SKIP() << disk_.why_not();
    }
    limits_.session_silence = absl::Minutes(1);  // A worker of these tests beats only by its words.
    start();
  }

  std::string logs_of(const std::string& id) {
    v1::StreamLogsRequest request;
    request.set_id(id);
    const auto call = context();
    const auto stream = jobs_->StreamLogs(call.get(), request);
    std::string all;
    v1::StreamLogsResponse response;
    while (stream->Read(&response)) {
      all += response.data();
    }
    return all;
  }

  SmallDisk disk_{directory_.path(), 1 << 20};
};

TEST_F(FullDiskTest, LogIsAskedForAgainFromWhereItEnds) {
  FakeWorker worker(channel_, "n1");
  worker.enter(fixture::registration("n1", 1));
  ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(1), uuid(1)));
  const TaskId task = run(worker, 1)[0];
  std::string text;
  for (int line = 0; line < 4000; ++line) {
    absl::StrAppend(&text, line, "\n");
  }
  const size_t half = text.size() / 2;
  disk_.fill(4096);
  worker.log(task, 0, text.substr(0, half));
  worker.log(task, static_cast<int64_t>(half), text.substr(half));
  // Both are answered: the one that found no room, and the one that would leave a gap.
  const v1::SessionResponse first = worker.read();
  const v1::SessionResponse second = worker.read();
  ASSERT_TRUE(first.has_resend_log()) << first.ShortDebugString();
  ASSERT_TRUE(second.has_resend_log()) << second.ShortDebugString();
  EXPECT_EQ(task_id(first.resend_log().key()), task);
  EXPECT_EQ(first.resend_log().source(), v1::STDERR);
  EXPECT_EQ(first.resend_log().offset(), second.resend_log().offset());
  const auto have = static_cast<size_t>(first.resend_log().offset());
  ASSERT_LT(have, half);
  disk_.free();
  worker.log(task, static_cast<int64_t>(have), text.substr(have));
  worker.send(fixture::finished_of(task));
  worker.send(fixture::exit_of(task, 0));
  watch_state(job.id(), v1::SUCCEEDED);
  EXPECT_EQ(logs_of(job.id()), text);
}

TEST_F(FullDiskTest, SubmitIsRefusedWithTheRemedyAndTakenOnceThereIsRoom) {
  ASSERT_OK_AND_ASSIGN(const v1::Job before, create(fixture::job_of(1, "before"), uuid(1)));
  disk_.fill();
  // What the store has already got of the disk may take some more.
  absl::Status refused;
  for (int i = 2; i < 1000 && refused.ok(); ++i) {
    refused = create(fixture::job_of(1, "more"), uuid(i)).status();
  }
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("free space")));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("laconic.db"));
  EXPECT_EQ(wire::error_info(refused).reason, kStoreFull);
  EXPECT_OK(get(before.id()).status());
  disk_.free();
  ASSERT_OK_AND_ASSIGN(const v1::Job after, create(fixture::job_of(1, "after"), uuid(1001)));
  restart();
  EXPECT_OK(get(before.id()).status());
  EXPECT_OK(get(after.id()).status());
}

}  // namespace
}  // namespace laconic::server
