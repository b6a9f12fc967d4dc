// The whole server over real gRPC, with workers that speak the session protocol.
#include "server/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/wire/status.h"
#include "server/reasons.h"
#include "tests/server/server_fixture.h"

namespace laconic::server {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(ServerTest, JobRunsFromSubmitToSuccess) {
  FakeWorker worker(channel_, "n1");
  EXPECT_EQ(worker.enter(fixture::registration("n1", 2)).server_version(), "0.1.0");
  ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(2), uuid(1)));
  EXPECT_EQ(job.id().size(), 10u);
  EXPECT_EQ(job.state(), v1::QUEUED);
  const auto tasks = run(worker, 2);
  for (const TaskId& task : tasks) {
    worker.send(fixture::progress_of(task, 10));
    worker.send(fixture::point_of(task, 10, 1.0));
    worker.send(fixture::finished_of(task));
    worker.send(fixture::exit_of(task, 0));
  }
  const v1::Job done = watch_state(job.id(), v1::SUCCEEDED);
  EXPECT_TRUE(done.has_finish_time());
  ASSERT_OK_AND_ASSIGN(const v1::Job stored, get("job"));
  EXPECT_EQ(stored.history_size(), 1);
  EXPECT_TRUE(worker.read().has_release_task());
  EXPECT_TRUE(worker.read().has_release_task());
}

TEST_F(ServerTest, SameRequestIdGivesTheSameJobAlsoAfterARestart) {
  ASSERT_OK_AND_ASSIGN(const v1::Job first, create(fixture::job_of(2), uuid(1)));
  ASSERT_OK_AND_ASSIGN(const v1::Job again, create(fixture::job_of(2), uuid(1)));
  EXPECT_EQ(first.id(), again.id());
  restart();
  ASSERT_OK_AND_ASSIGN(const v1::Job later, create(fixture::job_of(2), uuid(1)));
  EXPECT_EQ(first.id(), later.id());
  const auto other = create(fixture::job_of(3), uuid(1));
  EXPECT_THAT(other, StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(first.id())));
  EXPECT_EQ(wire::error_info(other.status()).reason, kRequestIdReused);
}

TEST_F(ServerTest, RequestIdOfADeletedJobMakesNoNewOne) {
  ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(2), uuid(1)));
  ASSERT_OK(cancel(job.id()));
  v1::DeleteJobRequest request;
  request.set_id(job.id());
  v1::DeleteJobResponse response;
  ASSERT_TRUE(jobs_->DeleteJob(context().get(), request, &response).ok());
  EXPECT_THAT(get(job.id()), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_EQ(wire::error_info(create(fixture::job_of(2), uuid(1)).status()).reason, kJobDeleted);
}

TEST_F(ServerTest, InvalidJobIsRefusedWithEveryViolation) {
  v1::TrainJob job = fixture::job_of(2);
  job.mutable_spec()->mutable_train()->set_batch_size(0);
  job.mutable_spec()->mutable_train()->set_steps(0);
  const auto refused = create(job, uuid(1));
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_EQ(wire::error_info(refused.status()).reason, "INVALID_JOB");
  EXPECT_EQ(wire::violations(refused.status()).size(), 2u);
}

TEST_F(ServerTest, RequestIdMustBeAUuid) {
  for (const std::string id : {"", "x", "00000000-0000-4000-8000-00000000000g"}) {
    EXPECT_EQ(wire::error_info(create(fixture::job_of(1), id).status()).reason, kBadRequestId);
  }
}

TEST_F(ServerTest, ValidateOnlyStoresNothing) {
  v1::CreateJobRequest request;
  *request.mutable_job() = fixture::job_of(2);
  request.set_validate_only(true);
  v1::CreateJobResponse response;
  ASSERT_TRUE(jobs_->CreateJob(context().get(), request, &response).ok());
  EXPECT_EQ(response.job().id(), "");
  v1::ListJobsResponse list;
  ASSERT_TRUE(jobs_->ListJobs(context().get(), {}, &list).ok());
  EXPECT_EQ(list.jobs_size(), 0);
}

TEST_F(ServerTest, ListGivesPagesNewestFirst) {
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) {
    ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(1), uuid(i)));
    ids.insert(ids.begin(), job.id());
  }
  v1::ListJobsRequest request;
  request.set_page_size(2);
  std::vector<std::string> listed;
  for (int page = 0; page < 3; ++page) {
    v1::ListJobsResponse response;
    ASSERT_TRUE(jobs_->ListJobs(context().get(), request, &response).ok());
    for (const v1::Job& job : response.jobs()) {
      listed.push_back(job.id());
    }
    request.set_page_token(response.next_page_token());
  }
  EXPECT_EQ(listed, ids);
  EXPECT_EQ(request.page_token(), "");
}

TEST_F(ServerTest, BadPagesAreRefused) {
  v1::ListJobsRequest request;
  v1::ListJobsResponse response;
  request.set_page_size(1001);
  EXPECT_EQ(jobs_->ListJobs(context().get(), request, &response).error_code(),
            grpc::INVALID_ARGUMENT);
  request.set_page_size(1);
  request.set_page_token("nonsense");
  EXPECT_EQ(jobs_->ListJobs(context().get(), request, &response).error_code(),
            grpc::INVALID_ARGUMENT);
}

TEST_F(ServerTest, RunningJobSurvivesARestartOfTheServer) {
  std::vector<TaskId> tasks;
  std::string id;
  {
    FakeWorker worker(channel_, "n1");
    worker.enter(fixture::registration("n1", 1));
    ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(1), uuid(1)));
    id = job.id();
    tasks = run(worker, 1);
    worker.log(tasks[0], 0, "half a li");
    worker.send(fixture::progress_of(tasks[0], 1));
    watch(id, [](const v1::Job& j) { return j.ranks(0).progress().step() == 1; });
  }
  restart();
  FakeWorker worker(channel_, "n1");
  v1::Register back = fixture::registration("n1", 1);
  *back.add_tasks()->mutable_key() = task_key(tasks[0]);
  *back.mutable_tasks(0)->mutable_hello() = fixture::hello_of(tasks[0]).report().hello();
  back.mutable_tasks(0)->set_launched(true);
  const v1::Welcome welcome = worker.enter(back);
  ASSERT_EQ(welcome.log_offsets_size(), 2);
  EXPECT_EQ(welcome.log_offsets(0).offset() + welcome.log_offsets(1).offset(), 9);
  worker.send(fixture::finished_of(tasks[0]));
  watch_state(id, v1::SUCCEEDED);
}

TEST_F(ServerTest, KilledTrainerFailsTheJobAndTheOthersAreStopped) {
  FakeWorker worker(channel_, "n1");
  worker.enter(fixture::registration("n1", 2));
  ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(2), uuid(1)));
  const auto tasks = run(worker, 2);
  worker.send(fixture::exit_of(tasks[1], 0, 9));
  const v1::Job failed = watch_state(job.id(), v1::FAILED);
  EXPECT_EQ(failed.reason(), kTrainerKilled);
  EXPECT_THAT(failed.message(), HasSubstr("signal 9"));
  const v1::SessionResponse first = worker.read();
  const v1::SessionResponse second = worker.read();
  EXPECT_TRUE(first.has_stop_task() || second.has_stop_task());
  EXPECT_TRUE(first.has_release_task() || second.has_release_task());
}

TEST_F(ServerTest, LogsFollowUntilTheJobIsFinalAndAllIsSent) {
  FakeWorker worker(channel_, "n1");
  worker.enter(fixture::registration("n1", 1));
  ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(1), uuid(1)));
  const auto tasks = run(worker, 1);
  worker.log(tasks[0], 0, "one\ntw");
  v1::StreamLogsRequest request;
  request.set_id(job.id());
  request.set_follow(true);
  const auto call = context();
  const auto stream = jobs_->StreamLogs(call.get(), request);
  v1::StreamLogsResponse response;
  for (const v1::LogSource source : {v1::STDOUT, v1::STDERR}) {
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.source(), source);
    EXPECT_EQ(response.data(), "");
    EXPECT_EQ(response.end_offset(), 0);
  }
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.data(), "one\n");
  EXPECT_EQ(response.end_offset(), 4);
  EXPECT_EQ(response.generation(), 1u);
  EXPECT_EQ(response.source(), v1::STDERR);
  worker.log(tasks[0], 6, "o\nlast");
  worker.send(fixture::finished_of(tasks[0]));
  worker.send(fixture::exit_of(tasks[0], 0));
  std::string rest;
  while (stream->Read(&response)) {
    rest += response.data();
  }
  EXPECT_EQ(rest, "two\nlast");
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ServerTest, LogsGoOnBehindThePositionsThatWereReached) {
  FakeWorker worker(channel_, "n1");
  worker.enter(fixture::registration("n1", 1));
  ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(1), uuid(1)));
  const auto tasks = run(worker, 1);
  worker.log(tasks[0], 0, "one\ntwo\nthree\n");
  worker.send(fixture::finished_of(tasks[0]));
  worker.send(fixture::exit_of(tasks[0], 0));
  watch_state(job.id(), v1::SUCCEEDED);
  const auto read_after = [&](int64_t offset, uint64_t generation) {
    v1::StreamLogsRequest request;
    request.set_id(job.id());
    request.set_source(v1::STDERR);
    request.set_tail_lines(1);  // Does not count where a position is given.
    v1::LogPosition& position = *request.add_after();
    position.set_source(v1::STDERR);
    position.set_offset(offset);
    position.set_generation(generation);
    const auto call = context();
    const auto stream = jobs_->StreamLogs(call.get(), request);
    std::string all;
    v1::StreamLogsResponse response;
    while (stream->Read(&response)) {
      all += response.data();
    }
    EXPECT_TRUE(stream->Finish().ok());
    return all;
  };
  EXPECT_EQ(read_after(0, 1), "one\ntwo\nthree\n");
  EXPECT_EQ(read_after(4, 1), "two\nthree\n");
  EXPECT_EQ(read_after(14, 1), "");
  EXPECT_EQ(read_after(1000, 1), "") << "bytes that a crash of the machine took are still to come";
  EXPECT_EQ(read_after(14, 0), "one\ntwo\nthree\n") << "of files that are no more";
}

TEST_F(ServerTest, LogPositionsOutOfRangeAreRefused) {
  ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(1), uuid(1)));
  const auto refusal = [&](const std::vector<v1::LogPosition>& positions) {
    v1::StreamLogsRequest request;
    request.set_id(job.id());
    request.mutable_after()->Add(positions.begin(), positions.end());
    const auto call = context();
    const auto stream = jobs_->StreamLogs(call.get(), request);
    v1::StreamLogsResponse response;
    EXPECT_FALSE(stream->Read(&response));
    return wire::from_grpc(stream->Finish());
  };
  v1::LogPosition good;
  good.set_source(v1::STDOUT);
  v1::LogPosition bad = good;
  bad.set_rank(1);
  EXPECT_THAT(refusal({bad}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0..0")));
  bad.set_rank(-1);
  EXPECT_THAT(refusal({bad}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is -1")));
  bad = good;
  bad.set_offset(-1);
  EXPECT_THAT(refusal({bad}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("offset")));
  bad = good;
  bad.clear_source();
  EXPECT_THAT(refusal({bad}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("STDERR")));
  EXPECT_THAT(refusal({good, good, good}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most two per rank")));
}

// A client that comes back after a crash of the server asks for what follows the last sequence it
// has seen; the server must not give that number to another event.
TEST_F(ServerTest, FollowedEventsAreOnDiskBeforeTheyAreShown) {
  FakeWorker worker(channel_, "n1");
  worker.enter(fixture::registration("n1", 1));
  ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(1), uuid(1)));
  const auto tasks = run(worker, 1);
  v1::StreamEventsRequest request;
  request.set_id(job.id());
  request.set_follow(true);
  const auto call = context();
  const auto stream = jobs_->StreamEvents(call.get(), request);
  v1::TaskUpdate update;
  *update.mutable_key() = task_key(tasks[0]);
  update.mutable_report()->mutable_event()->set_reason("TRAINER");
  update.mutable_report()->mutable_event()->set_message("a word of the trainer");
  worker.send(update);
  v1::StreamEventsResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_FALSE(response.has_event()) << "the first says that the stream is open";
  while (response.event().message() != "a word of the trainer") {
    ASSERT_TRUE(stream->Read(&response));
  }
  ASSERT_OK_AND_ASSIGN(const auto store,
                       JobStore::open(directory_.path().string() + "/laconic.db"));
  ASSERT_OK_AND_ASSIGN(const std::vector<JobRecord> stored, store->load_jobs());
  ASSERT_EQ(stored.size(), 1u);
  EXPECT_GE(stored[0].events.back().sequence(), response.event().sequence());
}

TEST_F(ServerTest, LogsOfARankThatIsNotThereAreRefused) {
  ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(1), uuid(1)));
  v1::StreamLogsRequest request;
  request.set_id(job.id());
  request.set_rank(1);
  const auto call = context();
  const auto stream = jobs_->StreamLogs(call.get(), request);
  v1::StreamLogsResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_THAT(wire::from_grpc(stream->Finish()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0..0")));
}

TEST_F(ServerTest, EventsAreInOrderAndEndWithTheJob) {
  ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(1), uuid(1)));
  ASSERT_OK(cancel(job.id()));
  v1::StreamEventsRequest request;
  request.set_id(job.id());
  request.set_follow(true);
  const auto call = context();
  const auto stream = jobs_->StreamEvents(call.get(), request);
  v1::StreamEventsResponse response;
  std::vector<std::string> reasons;
  int64_t sequence = 0;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_FALSE(response.has_event()) << "the first says that the stream is open";
  while (stream->Read(&response)) {
    EXPECT_EQ(response.event().sequence(), ++sequence);
    reasons.push_back(response.event().reason());
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(reasons.front(), kSubmitted);
  EXPECT_EQ(reasons.back(), kCancelled);
}

TEST_F(ServerTest, WatchOfAnUnknownJobIsNotFound) {
  v1::WatchJobRequest request;
  request.set_id("nobody");
  const auto call = context();
  const auto stream = jobs_->WatchJob(call.get(), request);
  v1::WatchJobResponse response;
  EXPECT_FALSE(stream->Read(&response));
  const absl::Status status = wire::from_grpc(stream->Finish());
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound, HasSubstr("laconic list")));
  EXPECT_EQ(wire::error_info(status).reason, kJobNotFound);
}

TEST_F(ServerTest, SessionMustBeginWithARegistration) {
  FakeWorker worker(channel_, "n1");
  worker.heartbeat();
  EXPECT_THAT(worker.finish(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("register")));
}

TEST_F(ServerTest, SilentSessionIsEndedAndItsNodeIsUnreachable) {
  limits_.session_silence = absl::Milliseconds(300);
  restart();
  FakeWorker worker(channel_, "n1");
  worker.enter(fixture::registration("n1", 1));
  EXPECT_THAT(worker.finish(), StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  const auto nodes = v1::NodeService::NewStub(channel_);
  v1::ListNodesResponse response;
  ASSERT_TRUE(nodes->ListNodes(context().get(), {}, &response).ok());
  ASSERT_EQ(response.nodes_size(), 1);
  EXPECT_EQ(response.nodes(0).state(), v1::UNREACHABLE);
}

TEST_F(ServerTest, NewerSessionOfTheSameProcessTakesOver) {
  FakeWorker old(channel_, "n1");
  old.enter(fixture::registration("n1", 1));
  FakeWorker fresh(channel_, "n1");
  fresh.enter(fixture::registration("n1", 1));
  EXPECT_THAT(old.finish(), StatusIs(absl::StatusCode::kAborted, HasSubstr("newer session")));
}

TEST_F(ServerTest, StopsInTimeWhileStreamsAreOpen) {
  FakeWorker worker(channel_, "n1");
  worker.enter(fixture::registration("n1", 1));
  ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(9), uuid(1)));
  v1::WatchJobRequest request;
  request.set_id(job.id());
  const auto call = context();
  const auto stream = jobs_->WatchJob(call.get(), request);
  v1::WatchJobResponse response;
  ASSERT_TRUE(stream->Read(&response));
  const absl::Time began = absl::Now();
  server_->stop(absl::Seconds(5));
  EXPECT_LT(absl::Now() - began, absl::Seconds(8));
  while (stream->Read(&response)) {
  }
  EXPECT_THAT(wire::from_grpc(stream->Finish()), StatusIs(absl::StatusCode::kUnavailable, _));
}

TEST_F(ServerTest, MetricsShowTheJobAndItsBytes) {
  FakeWorker worker(channel_, "n1");
  worker.enter(fixture::registration("n1", 1));
  ASSERT_OK_AND_ASSIGN(const v1::Job job, create(fixture::job_of(1), uuid(1)));
  const auto tasks = run(worker, 1);
  worker.send(fixture::progress_of(tasks[0], 7));
  const std::string wanted = absl::StrCat("laconic_job_step{job_id=\"", job.id(), "\"} 7");
  const absl::Time limit = absl::Now() + kCallDeadline;
  std::string text;
  while (text.find(wanted) == std::string::npos && absl::Now() < limit) {
    ASSERT_OK(get(job.id()).status());  // One call is the pause: metrics follow once a second.
    text = server_->metrics().text();
    worker.heartbeat();
  }
  EXPECT_THAT(text, HasSubstr(wanted));
  EXPECT_THAT(text, HasSubstr("laconic_jobs{state=\"RUNNING\"} 1"));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("laconic_exchange_wire_bytes_total{direction=\"sent\","
                                           "job_id=\"",
                                           job.id(), "\",link=\"lan\"} 70")));
  EXPECT_THAT(text,
              HasSubstr(absl::StrCat("laconic_exchange_payload_bytes_total{direction=\"sent\","
                                     "job_id=\"",
                                     job.id(), "\",link=\"lan\"} 0")));
  EXPECT_THAT(text, HasSubstr("method=\"CreateJob\""));
}

TEST_F(ServerTest, MetricsTellLinksBetweenSitesFromThoseInside) {
  FakeWorker worker(channel_, "n1");
  worker.enter(fixture::registration("n1", 2));
  v1::TrainJob file = fixture::job_of(2);
  file.mutable_spec()->mutable_exchange()->set_ranks_per_site(1);
  ASSERT_OK_AND_ASSIGN(const v1::Job job, create(file, uuid(1)));
  const auto tasks = run(worker, 2);
  for (const auto& task : tasks) {
    v1::TaskUpdate update = fixture::progress_of(task, 7);
    v1::ByteCounts& bytes = *update.mutable_report()->mutable_progress()->mutable_bytes();
    bytes.set_sent_between_sites(60);
    bytes.set_received_between_sites(130);
    worker.send(update);
  }
  const std::string wanted = absl::StrCat("laconic_job_step{job_id=\"", job.id(), "\"} 7");
  const absl::Time limit = absl::Now() + kCallDeadline;
  std::string text;
  while (text.find(wanted) == std::string::npos && absl::Now() < limit) {
    ASSERT_OK(get(job.id()).status());  // One call is the pause: metrics follow once a second.
    text = server_->metrics().text();
    worker.heartbeat();
  }
  const auto value = [&](const char* name, const char* direction, const char* link) {
    return absl::StrCat("laconic_exchange_", name, "_bytes_total{direction=\"", direction,
                        "\",job_id=\"", job.id(), "\",link=\"", link, "\"} ");
  };
  EXPECT_THAT(text, HasSubstr(value("wire", "sent", "between_sites") + "120\n"));
  EXPECT_THAT(text, HasSubstr(value("wire", "sent", "inside_site") + "20\n"));
  EXPECT_THAT(text, HasSubstr(value("wire", "received", "between_sites") + "260\n"));
  EXPECT_THAT(text, HasSubstr(value("wire", "received", "inside_site") + "20\n"));
  // 2 (P-1)/P 4 d = 4000 bytes a step and rank, all of them to the other site.
  EXPECT_THAT(text, HasSubstr(value("dense", "sent", "between_sites") + "56000\n"));
  EXPECT_THAT(text, HasSubstr(value("dense", "sent", "inside_site") + "0\n"));
  EXPECT_THAT(text, Not(HasSubstr("link=\"lan\"")));
}

}  // namespace
}  // namespace laconic::server
