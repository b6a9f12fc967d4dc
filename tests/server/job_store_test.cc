#include "server/job_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "common/wire/status.h"
#include "server/reasons.h"
#include "tests/server/job_fixture.h"
#include "tests/testing/child_process.h"
#include "tests/testing/status_matchers.h"

namespace laconic::server {
namespace {

namespace fixture = ::laconic::server::testing;
using ::laconic::testing::StatusIs;
using ::laconic::testing::TemporaryDirectory;
using ::testing::HasSubstr;

class JobStoreTest : public ::testing::Test {
 protected:
  static JobRecord record_of(const std::string& id) {
    JobRecord record;
    record.job.set_id(id);
    *record.job.mutable_job() = fixture::job_of(2, "name");
    record.job.set_state(v1::RUNNING);
    record.peer_token = "peer";
    for (int rank = 0; rank < 2; ++rank) {
      record.job.add_ranks()->set_rank(rank);
      record.job.mutable_ranks(rank)->mutable_progress()->set_step(5);
      record.tasks.emplace_back();
    }
    record.tasks[1] = {"incarnation", "secret", true, true, false, 0};
    return record;
  }

  TemporaryDirectory directory_;
  std::string path_ = directory_.path() / "laconic.db";
};

TEST_F(JobStoreTest, CommittedJobIsThereAfterReopening) {
  const JobRecord record = record_of("a");
  v1::Event event;
  event.set_sequence(1);
  event.set_reason("SUBMITTED");
  v1::HistoryPoint point;
  point.set_step(10);
  {
    ASSERT_OK_AND_ASSIGN(auto store, JobStore::open(path_));
    StoreBatch batch;
    batch.jobs = {&record};
    batch.events = {{"a", event}};
    batch.history = {{"a", point}};
    batch.request = RequestRow{"request", "a", "digest", absl::FromUnixSeconds(100)};
    ASSERT_OK(store->commit(batch));
  }
  ASSERT_OK_AND_ASSIGN(auto store, JobStore::open(path_));
  ASSERT_OK_AND_ASSIGN(const auto jobs, store->load_jobs());
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0].job.job().metadata().name(), "name");
  EXPECT_EQ(jobs[0].peer_token, "peer");
  EXPECT_EQ(jobs[0].tasks[1].incarnation, "incarnation");
  EXPECT_EQ(jobs[0].tasks[1].task_token, "secret");
  EXPECT_TRUE(jobs[0].tasks[1].gone);
  EXPECT_EQ(jobs[0].events[0].reason(), "SUBMITTED");
  EXPECT_EQ(jobs[0].job.history(0).step(), 10);
  ASSERT_OK_AND_ASSIGN(const auto requests, store->load_requests());
  EXPECT_EQ(requests[0].digest, "digest");
}

TEST_F(JobStoreTest, ProgressOfARunningJobIsNotWritten) {
  const JobRecord record = record_of("a");
  ASSERT_OK_AND_ASSIGN(auto store, JobStore::open(path_));
  StoreBatch batch;
  batch.jobs = {&record};
  ASSERT_OK(store->commit(batch));
  ASSERT_OK_AND_ASSIGN(const auto jobs, store->load_jobs());
  EXPECT_FALSE(jobs[0].job.ranks(0).has_progress());
}

TEST_F(JobStoreTest, RewrittenHistoryReplacesTheOldPoints) {
  JobRecord record = record_of("a");
  ASSERT_OK_AND_ASSIGN(auto store, JobStore::open(path_));
  StoreBatch batch;
  batch.jobs = {&record};
  for (int step = 1; step <= 4; ++step) {
    v1::HistoryPoint point;
    point.set_step(step);
    batch.history.emplace_back("a", point);
  }
  ASSERT_OK(store->commit(batch));
  record.job.add_history()->set_step(4);
  StoreBatch rewrite;
  rewrite.history_rewritten = {&record};
  ASSERT_OK(store->commit(rewrite));
  ASSERT_OK_AND_ASSIGN(const auto jobs, store->load_jobs());
  EXPECT_EQ(jobs[0].job.history_size(), 1);
}

TEST_F(JobStoreTest, DeletedJobLeavesNoRowButItsRequestId) {
  const JobRecord record = record_of("a");
  ASSERT_OK_AND_ASSIGN(auto store, JobStore::open(path_));
  StoreBatch batch;
  batch.jobs = {&record};
  batch.request = RequestRow{"request", "a", "digest", absl::FromUnixSeconds(100)};
  ASSERT_OK(store->commit(batch));
  StoreBatch deletion;
  deletion.delete_job = "a";
  ASSERT_OK(store->commit(deletion));
  EXPECT_TRUE(store->load_jobs()->empty());
  EXPECT_EQ(store->load_requests()->size(), 1u);
  ASSERT_OK(store->forget_requests(absl::FromUnixSeconds(101)));
  EXPECT_TRUE(store->load_requests()->empty());
}

TEST_F(JobStoreTest, AcknowledgedCommitSurvivesKillDashNine) {
  int ack[2];
  ASSERT_EQ(::pipe(ack), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = JobStore::open(path_);
    const JobRecord record = record_of("a");
    StoreBatch batch;
    batch.jobs = {&record};
    if (store.ok() && (*store)->commit(batch).ok() && ::write(ack[1], "k", 1) == 1) {
      ::raise(SIGKILL);  // No destructor, no flush, no close.
    }
    ::_exit(1);
  }
  ::close(ack[1]);
  char byte = 0;
  ASSERT_EQ(::read(ack[0], &byte, 1), 1) << "the child did not acknowledge";
  ::close(ack[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_OK_AND_ASSIGN(auto store, JobStore::open(path_));
  EXPECT_EQ(store->load_jobs()->size(), 1u);
}

TEST_F(JobStoreTest, FullDiskRefusesTheWholeTransactionAndRecovers) {
  ASSERT_OK_AND_ASSIGN(auto store, JobStore::open(path_));
  ASSERT_OK(store->limit_growth(2));
  const JobRecord small = record_of("a");
  JobRecord big = record_of("b");
  big.job.set_message(std::string(1 << 20, 'x'));
  StoreBatch batch;
  batch.jobs = {&small, &big};
  const absl::Status status = store->commit(batch);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("--data-dir")));
  EXPECT_EQ(wire::error_info(status).reason, kStoreFull);
  EXPECT_TRUE(store->load_jobs()->empty()) << "half of the transaction is there";
  ASSERT_OK(store->limit_growth(10'000));
  EXPECT_OK(store->commit(batch));
}

// A message that was cut inside a letter could be written but not read back: no start after that.
TEST_F(JobStoreTest, TextsThatWereCutInsideALetterCanBeReadBack) {
  const Limits limits;
  std::string text(limits.message_bytes_max - 1, 'x');
  text += "\xC3\xA9";  // The limit falls between its two bytes.
  JobRecord record = record_of("a");
  v1::Rank& rank = *record.job.mutable_ranks(0);
  rank.mutable_failure()->set_message(text);
  rank.mutable_exit()->add_last_lines(text);
  rank.mutable_finished()->add_files(text);
  *rank.mutable_failure() = bounded(rank.failure(), limits);
  *rank.mutable_exit() = bounded(rank.exit(), /*world_size=*/2, limits);
  *rank.mutable_finished() = bounded(rank.finished(), limits);
  {
    ASSERT_OK_AND_ASSIGN(auto store, JobStore::open(path_));
    StoreBatch batch;
    batch.jobs = {&record};
    ASSERT_OK(store->commit(batch));
  }
  ASSERT_OK_AND_ASSIGN(auto store, JobStore::open(path_));
  ASSERT_OK_AND_ASSIGN(const std::vector<JobRecord> records, store->load_jobs());
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].job.ranks(0).failure().message().size(), limits.message_bytes_max - 1);
}

TEST_F(JobStoreTest, RefusesADatabaseOfANewerRelease) {
  { ASSERT_OK(JobStore::open(path_).status()); }
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "PRAGMA user_version=99", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  const auto store = JobStore::open(path_);
  EXPECT_THAT(store, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("version 99")));
  EXPECT_EQ(wire::error_info(store.status()).reason, kSchemaTooNew);
}

TEST_F(JobStoreTest, RefusesAFileThatIsNoDatabase) {
  ::laconic::testing::write_file(path_, std::string(4096, 'x'));
  EXPECT_THAT(JobStore::open(path_), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(path_)));
}

TEST_F(JobStoreTest, DatabaseIsReadableByItsOwnerOnly) {
  ASSERT_OK(JobStore::open(path_).status());
  struct stat info = {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

}  // namespace
}  // namespace laconic::server
