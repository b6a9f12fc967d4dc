#include "server/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/wire/status.h"
#include "server/reasons.h"
#include "tests/server/coordinator_fixture.h"

namespace laconic::server {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

// ---- Waiting -----------------------------------------------------------------------------------

TEST_F(CoordinatorTest, JobWithoutWorkersWaitsAndSaysSo) {
  submit("a", 2);
  tick();
  EXPECT_EQ(job("a").state(), v1::QUEUED);
  EXPECT_EQ(job("a").reason(), kNoWorkers);
}

TEST_F(CoordinatorTest, ExplainTellsPlaceNumbersAndBlockers) {
  node("n1", 2);
  submit("a", 2);
  tick();
  submit("b", 1);
  tick();
  const v1::ExplainJobResponse why = coordinator_->explain("b", now_);
  EXPECT_EQ(why.reason(), kSlotsBusy);
  EXPECT_EQ(why.position(), 1);
  EXPECT_EQ(why.slots_wanted(), 1);
  EXPECT_EQ(why.slots_free(), 0);
  EXPECT_EQ(why.slots_total(), 2);
  EXPECT_EQ(why.blockers(0), "a");
}

TEST_F(CoordinatorTest, ChangedReasonIsOneEventAndNoRowToWrite) {
  submit("a", 2);
  coordinator_->take();
  tick();
  tick();
  const Effects effects = coordinator_->take();
  EXPECT_EQ(effects.events.size(), 1u);
  EXPECT_TRUE(effects.jobs.empty());
}

TEST_F(CoordinatorTest, QueueDeadlineFailsTheJobWithItsLastReason) {
  v1::TrainJob job_file = fixture::job_of(9);
  job_file.mutable_spec()->mutable_limits()->mutable_queue_deadline()->set_seconds(60);
  node("n1", 2);
  submit("a", job_file);
  pass(absl::Seconds(60));
  EXPECT_EQ(job("a").state(), v1::QUEUED);
  pass(absl::Seconds(1));
  EXPECT_EQ(job("a").state(), v1::FAILED);
  EXPECT_EQ(job("a").reason(), kQueueDeadline);
  EXPECT_THAT(job("a").message(), HasSubstr(kNotEnoughSlots));
}

TEST_F(CoordinatorTest, RefusesJobsBeyondTheLimit) {
  limits_.queued_max = 1;
  Coordinator small(limits_, [] { return "t"; });
  ASSERT_OK(small.submit(fixture::job_of(1), "a", now_));
  EXPECT_THAT(small.submit(fixture::job_of(1), "b", now_),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("1 waiting jobs")));
  EXPECT_EQ(small.find("b"), nullptr);
}

TEST_F(CoordinatorTest, FindsJobsByIdAndByUniqueName) {
  submit("a", 1);
  submit("b", 1);
  EXPECT_EQ(*coordinator_->resolve("name-b"), "b");
  EXPECT_EQ(*coordinator_->resolve("a"), "a");
  EXPECT_THAT(coordinator_->resolve("nobody"), StatusIs(absl::StatusCode::kNotFound, _));
  submit("c", fixture::job_of(1, "name-b"));
  const auto twice = coordinator_->resolve("name-b");
  EXPECT_THAT(twice, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("b, c")));
  EXPECT_EQ(wire::error_info(twice.status()).reason, kNameNotUnique);
}

// ---- Starting ----------------------------------------------------------------------------------

// What was meant for the last word let a trainer that lived on fill memory and store.
TEST_F(CoordinatorTest, TrainerCannotAddEventsBeyondTheLimitAfterTheEnd) {
  limits_.events_max = 10;
  coordinator_ = make_owned();
  node("n1", 1);
  submit("a", 1);
  run("a");
  ASSERT_OK(coordinator_->cancel("a", now_));
  pass(timeouts("a").stop_grace + limits_.cancel_slack + absl::Seconds(1));
  ASSERT_EQ(job("a").state(), v1::CANCELLED);
  v1::TaskUpdate update = fixture::update_of(task("a", 0));
  update.mutable_report()->mutable_event()->set_reason("NOTE");
  for (int i = 0; i < 100; ++i) {
    report(update);
  }
  EXPECT_LE(coordinator_->find("a")->events.size(), limits_.events_max + 1);
}

// With hundreds of ids the error outgrew gRPC's header limit, and its reason was lost.
TEST_F(CoordinatorTest, ManyJobsOfOneNameAreCountedAndTheNewestNamed) {
  for (int i = 0; i < 300; ++i) {
    now_ += absl::Seconds(1);
    submit(absl::StrCat("job", i), fixture::job_of(1, "same"));
  }
  const absl::Status status = coordinator_->resolve("same").status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("300 jobs")));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("job299")));
  EXPECT_LT(wire::to_grpc(status).error_details().size(), 1000u);
}

TEST_F(CoordinatorTest, StartsEveryRankWithItsOwnTokenAndOneCommonOne) {
  node("n1", 2);
  submit("a", 2);
  tick();
  EXPECT_EQ(job("a").state(), v1::STARTING);
  EXPECT_EQ(job("a").generation(), 1u);
  std::vector<v1::StartTask> starts;
  for (const Command& command : coordinator_->take().commands) {
    starts.push_back(command.message.start_task());
  }
  ASSERT_EQ(starts.size(), 2u);
  EXPECT_NE(starts[0].task_token(), starts[1].task_token());
  EXPECT_EQ(starts[0].peer_token(), starts[1].peer_token());
  EXPECT_EQ(starts[1].world_size(), 2);
  EXPECT_EQ(slots_held("n1"), 2);
}

TEST_F(CoordinatorTest, LaunchesWithAllAddressesOnceEveryRankIsReady) {
  node("n1", 2);
  submit("a", 2);
  tick();
  report(fixture::hello_of(task("a", 1)));
  EXPECT_EQ(job("a").state(), v1::STARTING);
  coordinator_->take();
  report(fixture::hello_of(task("a", 0)));
  EXPECT_EQ(job("a").state(), v1::RUNNING);
  EXPECT_TRUE(job("a").has_start_time());
  EXPECT_EQ(job("a").ranks(1).state(), v1::TRAINING);
  const Effects effects = coordinator_->take();
  ASSERT_EQ(effects.commands.size(), 2u);
  const v1::Launch& launch = effects.commands[0].message.launch_task().launch();
  EXPECT_EQ(launch.generation(), 1u);
  EXPECT_EQ(launch.peers(1).address(), "127.0.0.1:1001");
}

TEST_F(CoordinatorTest, UnequalLayoutsFailTheJobAndNameTheRanks) {
  node("n1", 3);
  submit("a", 3);
  tick();
  report(fixture::hello_of(task("a", 0), 7));
  report(fixture::hello_of(task("a", 1), 8));
  report(fixture::hello_of(task("a", 2), 7));
  EXPECT_EQ(job("a").state(), v1::FAILED);
  EXPECT_EQ(job("a").reason(), kLayoutMismatch);
  EXPECT_THAT(job("a").message(), HasSubstr("ranks 0, 2 have 0000000000000007; of ranks 1 have"));
  EXPECT_EQ(commands(v1::SessionResponse::kStopTask), 3);
}

TEST_F(CoordinatorTest, UnconfirmedReservationGoesBackToTheQueue) {
  node("n1", 2);
  submit("a", 2);
  tick();
  report(fixture::pid_of(task("a", 0)));
  pass(timeouts("a").reservation_ttl + absl::Seconds(1));
  EXPECT_EQ(job("a").state(), v1::QUEUED);
  EXPECT_TRUE(has_event("a", kReservationExpired));
  EXPECT_EQ(job("a").ranks_size(), 0);
  EXPECT_EQ(slots_held("n1"), 2) << "the trainers may live until their worker says otherwise";
  const TaskId first{"a", 1, 0};
  const TaskId second{"a", 1, 1};
  coordinator_->update("n1", fixture::exit_of(first, 0, 15), now_);
  coordinator_->update("n1", fixture::exit_of(second, 0, 15), now_);
  tick();
  EXPECT_EQ(job("a").state(), v1::STARTING);
  EXPECT_EQ(job("a").generation(), 2u);
}

TEST_F(CoordinatorTest, ReservationsThatAlwaysExpireEndInFailure) {
  node("n1", 1);
  submit("a", 1);
  for (int i = 0; i < limits_.reservations_max; ++i) {
    tick();
    ASSERT_EQ(job("a").state(), v1::STARTING) << i;
    const TaskId unconfirmed = task("a", 0);
    pass(timeouts("a").reservation_ttl + absl::Milliseconds(1));
    coordinator_->update("n1", fixture::exit_of(unconfirmed, 0), now_);
  }
  EXPECT_EQ(job("a").state(), v1::FAILED);
  EXPECT_EQ(job("a").reason(), kReservationExpired);
}

TEST_F(CoordinatorTest, StartDeadlineNamesTheRanksThatAreNotReady) {
  node("n1", 2);
  submit("a", 2);
  tick();
  report(fixture::hello_of(task("a", 0)));
  report(fixture::pid_of(task("a", 1)));
  pass(timeouts("a").start_deadline + absl::Seconds(1));
  EXPECT_EQ(job("a").reason(), kStartDeadline);
  EXPECT_THAT(job("a").message(), HasSubstr("rank 1 on n1 not ready within"));
}

TEST_F(CoordinatorTest, TrainerThatCannotBeSpawnedFailsTheJob) {
  node("n1", 1);
  submit("a", 1);
  tick();
  report(fixture::exit_of(task("a", 0), 127));
  EXPECT_EQ(job("a").reason(), kSpawnFailed);
  EXPECT_THAT(job("a").message(), HasSubstr("the last line"));
}

// ---- Running to the end ------------------------------------------------------------------------

TEST_F(CoordinatorTest, SucceedsWhenAllRanksFinishWithEqualDigests) {
  node("n1", 2);
  submit("a", 2);
  run("a");
  report(fixture::finished_of(task("a", 0)));
  EXPECT_EQ(job("a").state(), v1::RUNNING);
  report(fixture::finished_of(task("a", 1)));
  EXPECT_EQ(job("a").state(), v1::SUCCEEDED);
  EXPECT_EQ(job("a").reason(), kTrained);
  coordinator_->take();
  end_all("a");
  EXPECT_EQ(slots_held("n1"), 0);
  EXPECT_EQ(job("a").ranks(0).state(), v1::DONE);
  EXPECT_EQ(commands(v1::SessionResponse::kReleaseTask), 2);
}

TEST_F(CoordinatorTest, UnequalDigestsFailTheJob) {
  node("n1", 2);
  submit("a", 2);
  run("a");
  report(fixture::finished_of(task("a", 0), 1));
  report(fixture::finished_of(task("a", 1), 2));
  EXPECT_EQ(job("a").state(), v1::FAILED);
  EXPECT_EQ(job("a").reason(), kDivergedRanks);
  EXPECT_THAT(job("a").message(), HasSubstr("rank 1 on n1 has 0000000000000002"));
}

TEST_F(CoordinatorTest, ActiveDeadlineEndsARunningJob) {
  v1::TrainJob job_file = fixture::job_of(1);
  job_file.mutable_spec()->mutable_limits()->mutable_active_deadline()->set_seconds(30);
  node("n1", 1);
  submit("a", job_file);
  run("a");
  pass(absl::Seconds(31));
  EXPECT_EQ(job("a").reason(), kActiveDeadline);
}

TEST_F(CoordinatorTest, FinishedTrainerThatDoesNotEndIsStopped) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  report(fixture::finished_of(task("a", 0)));
  coordinator_->take();
  pass(timeouts("a").stop_grace + absl::Seconds(1));
  EXPECT_EQ(commands(v1::SessionResponse::kStopTask), 1);
}

TEST_F(CoordinatorTest, HistoryAveragesLossOverRanksAndTakesTheLargestBytes) {
  node("n1", 2);
  submit("a", 2);
  run("a");
  report(fixture::point_of(task("a", 0), 10, 1.0));
  EXPECT_EQ(job("a").history_size(), 0);
  report(fixture::point_of(task("a", 1), 10, 3.0));
  ASSERT_EQ(job("a").history_size(), 1);
  EXPECT_EQ(job("a").history(0).train_loss(), 2.0);
  EXPECT_EQ(job("a").history(0).sent_bytes(), 101);
  EXPECT_EQ(job("a").history(0).eval_accuracy(), 0.5);
}

TEST_F(CoordinatorTest, PointThatCameTwiceCountsOnce) {
  node("n1", 2);
  submit("a", 2);
  run("a");
  report(fixture::point_of(task("a", 0), 10, 1.0));
  report(fixture::point_of(task("a", 0), 10, 9.0));
  report(fixture::point_of(task("a", 1), 10, 3.0));
  report(fixture::point_of(task("a", 1), 10, 9.0));
  ASSERT_EQ(job("a").history_size(), 1);
  EXPECT_EQ(job("a").history(0).train_loss(), 2.0);
}

TEST_F(CoordinatorTest, PointOfOneRankAloneIsShownAfterAWait) {
  node("n1", 2);
  submit("a", 2);
  run("a");
  report(fixture::point_of(task("a", 0), 10, 1.0));
  pass(limits_.history_wait + absl::Seconds(1));
  EXPECT_EQ(job("a").history_size(), 1);
}

TEST_F(CoordinatorTest, FullHistoryDropsEverySecondPointAndKeepsTheLast) {
  limits_.history_points_max = 10;
  coordinator_ = make_owned();
  node("n1", 1);
  submit("a", 1);
  run("a");
  for (int step = 1; step <= 11; ++step) {
    report(fixture::point_of(task("a", 0), step, 1.0));
  }
  EXPECT_EQ(job("a").history_size(), 6);
  EXPECT_EQ(job("a").history(5).step(), 11);
  EXPECT_EQ(coordinator_->take().history_rewritten.count("a"), 1u);
}

TEST_F(CoordinatorTest, ProgressChangesNoRow) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  coordinator_->take();
  report(fixture::progress_of(task("a", 0), 5));
  const Effects effects = coordinator_->take();
  EXPECT_TRUE(effects.jobs.empty());
  EXPECT_EQ(effects.touched.count("a"), 1u);
  EXPECT_EQ(job("a").ranks(0).progress().step(), 5);
}

TEST_F(CoordinatorTest, EventsStopAtTheLimitButTheEndIsNoted) {
  limits_.events_max = 8;
  coordinator_ = make_owned();
  node("n1", 1);
  submit("a", 1);
  run("a");
  for (int i = 0; i < 20; ++i) {
    v1::TaskUpdate update = fixture::update_of(task("a", 0));
    update.mutable_report()->mutable_event()->set_reason("SOMETHING");
    report(update);
  }
  report(fixture::finished_of(task("a", 0)));
  const auto& events = coordinator_->find("a")->events;
  EXPECT_EQ(events.size(), 9u);
  EXPECT_EQ(events[7].reason(), kEventLimit);
  EXPECT_EQ(events[8].reason(), kTrained);
}

// ---- Failures ----------------------------------------------------------------------------------

TEST_F(CoordinatorTest, KilledTrainerFailsTheJobAtOnceAndIsNamed) {
  node("n1", 1);
  node("n2", 1);
  submit("a", 2);
  run("a");
  coordinator_->take();
  report(fixture::exit_of(task("a", 1), 0, 9));
  EXPECT_EQ(job("a").state(), v1::FAILED);
  EXPECT_EQ(job("a").reason(), kTrainerKilled);
  EXPECT_EQ(job("a").message(),
            "rank 1 on n2 was killed by signal 9 (SIGKILL); its last line: the last line");
  EXPECT_EQ(job("a").ranks(1).exit().last_lines(0), "the last line");
  EXPECT_EQ(commands(v1::SessionResponse::kStopTask), 1);
  report(fixture::exit_of(task("a", 0), 0, 15));
  EXPECT_EQ(job("a").reason(), kTrainerKilled);
  EXPECT_EQ(slots_held("n1") + slots_held("n2"), 0);
}

TEST_F(CoordinatorTest, OwnCauseThatComesLaterBeatsALostPeer) {
  node("n1", 2);
  submit("a", 2);
  run("a");
  report(fixture::failure_of(task("a", 0), kPeerLost, 1));
  report(fixture::exit_of(task("a", 0), 75));
  EXPECT_EQ(job("a").state(), v1::RUNNING);
  report(fixture::failure_of(task("a", 1), "BAD_DATA"));
  report(fixture::exit_of(task("a", 1), 1));
  EXPECT_EQ(job("a").state(), v1::FAILED);
  EXPECT_EQ(job("a").reason(), "BAD_DATA");
  EXPECT_THAT(job("a").message(), HasSubstr("rank 1 on n1 failed: what BAD_DATA says"));
}

TEST_F(CoordinatorTest, OnlyLostPeersFailTheJobAfterTheWait) {
  node("n1", 2);
  submit("a", 2);
  run("a");
  report(fixture::failure_of(task("a", 0), kPeerLost, 1));
  pass(timeouts("a").root_cause_wait);
  EXPECT_EQ(job("a").state(), v1::RUNNING);
  pass(absl::Seconds(1));
  EXPECT_EQ(job("a").state(), v1::FAILED);
  EXPECT_EQ(job("a").reason(), kPeerLost);
}

TEST_F(CoordinatorTest, FailureWithoutAnExitIsTakenAfterTheWait) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  report(fixture::failure_of(task("a", 0), "DIVERGED"));
  EXPECT_EQ(job("a").state(), v1::RUNNING);
  pass(timeouts("a").root_cause_wait + absl::Seconds(1));
  EXPECT_EQ(job("a").reason(), "DIVERGED");
}

TEST_F(CoordinatorTest, ExitBeforeTheEndWithoutAWordIsAFailure) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  report(fixture::exit_of(task("a", 0), 0));
  EXPECT_EQ(job("a").reason(), kTrainerExited);
  EXPECT_THAT(job("a").message(), HasSubstr("exit code 0"));
}

TEST_F(CoordinatorTest, MalformedReasonOfATrainerIsReplaced) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  report(fixture::failure_of(task("a", 0), "not a reason"));
  report(fixture::exit_of(task("a", 0), 1));
  EXPECT_EQ(job("a").reason(), kTrainerFailed);
}

}  // namespace
}  // namespace laconic::server
