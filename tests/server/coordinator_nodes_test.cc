// Nodes that go and come, cancel, and restarts of the server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/wire/status.h"
#include "server/coordinator.h"
#include "server/reasons.h"
#include "tests/server/coordinator_fixture.h"

namespace laconic::server {
namespace {

using ::laconic::testing::StatusIs;
using ::testing::HasSubstr;

class CoordinatorNodesTest : public CoordinatorTest {};

// ---- Nodes that go and come --------------------------------------------------------------------

TEST_F(CoordinatorNodesTest, SilentNodeIsUnreachableAndItsJobGoesOn) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  now_ += limits_.session_silence + absl::Seconds(1);
  tick();
  EXPECT_FALSE(coordinator_->membership().live("n1"));
  now_ += absl::Hours(2);
  tick();
  EXPECT_EQ(job("a").state(), v1::RUNNING);
  EXPECT_TRUE(has_event("a", kNodeUnreachable));
}

TEST_F(CoordinatorNodesTest, SnapshotBringsWhatWasMissedWhileAway) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  lose("n1");
  v1::Register back = fixture::registration("n1", 1);
  v1::TaskSnapshot& snapshot = *back.add_tasks();
  *snapshot.mutable_key() = task_key(task("a", 0));
  snapshot.set_pid(100);
  *snapshot.mutable_hello() = fixture::hello_of(task("a", 0)).report().hello();
  snapshot.set_launched(true);
  *snapshot.add_history() = fixture::point_of(task("a", 0), 10, 1.0).report().history();
  *snapshot.mutable_finished() = fixture::finished_of(task("a", 0)).report().finished();
  snapshot.mutable_exit()->set_exit_code(0);
  ASSERT_OK(coordinator_->enter(back, ++session_, now_));
  EXPECT_EQ(job("a").state(), v1::SUCCEEDED);
  EXPECT_EQ(job("a").history_size(), 1);
  EXPECT_EQ(slots_held("n1"), 0);
  EXPECT_EQ(commands(v1::SessionResponse::kReleaseTask), 1);
}

TEST_F(CoordinatorNodesTest, LaunchThatWasMissedIsSentAgain) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  lose("n1");
  coordinator_->take();
  v1::Register back = fixture::registration("n1", 1);
  *back.add_tasks()->mutable_key() = task_key(task("a", 0));
  *back.mutable_tasks(0)->mutable_hello() = fixture::hello_of(task("a", 0)).report().hello();
  ASSERT_OK(coordinator_->enter(back, ++session_, now_));
  EXPECT_EQ(commands(v1::SessionResponse::kLaunchTask), 1);
}

TEST_F(CoordinatorNodesTest, RestartedWorkerWithoutItsTaskIsALostWorker) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  lose("n1");
  node("n1", 1, "second");
  EXPECT_EQ(job("a").state(), v1::FAILED);
  EXPECT_EQ(job("a").reason(), kWorkerLost);
  EXPECT_THAT(job("a").message(), HasSubstr("rank 0 on n1"));
  EXPECT_EQ(slots_held("n1"), 0);
}

TEST_F(CoordinatorNodesTest, StartThatNeverArrivedIsSentAgain) {
  node("n1", 1);
  submit("a", 1);
  tick();
  lose("n1");
  coordinator_->take();
  node("n1", 1, "second");
  EXPECT_EQ(commands(v1::SessionResponse::kStartTask), 1);
  EXPECT_EQ(job("a").state(), v1::STARTING);
}

TEST_F(CoordinatorNodesTest, UnreachableNodeThatAPeerLostIsNamed) {
  node("n1", 1);
  node("n2", 1);
  submit("a", 2);
  run("a");
  lose("n2");
  sessions_.erase("n2");
  report(fixture::failure_of(task("a", 0), kPeerLost, 1));
  pass(timeouts("a").root_cause_wait + absl::Seconds(1));
  EXPECT_EQ(job("a").state(), v1::FAILED);
  EXPECT_EQ(job("a").reason(), kWorkerLost);
  EXPECT_THAT(job("a").message(), HasSubstr("node n2 with rank 1 cannot be reached"));
}

TEST_F(CoordinatorNodesTest, UnknownTaskIsStoppedAndReleasedOnceItHasEnded) {
  v1::Register request = fixture::registration("n1", 1);
  const TaskId unknown{"gone", 3, 0};
  *request.add_tasks()->mutable_key() = task_key(unknown);
  ASSERT_OK(coordinator_->enter(request, ++session_, now_));
  EXPECT_EQ(commands(v1::SessionResponse::kStopTask), 1);
  EXPECT_EQ(slots_held("n1"), 1);
  coordinator_->update("n1", fixture::exit_of(unknown, 0, 15), now_);
  EXPECT_EQ(commands(v1::SessionResponse::kReleaseTask), 1);
  EXPECT_EQ(slots_held("n1"), 0);
}

TEST_F(CoordinatorNodesTest, NameOfALiveNodeCannotBeTaken) {
  node("n1", 1);
  EXPECT_THAT(coordinator_->enter(fixture::registration("n1", 1, "second"), 99, now_),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("--name")));
}

TEST_F(CoordinatorNodesTest, RefusesBadRegistrations) {
  const auto refused = [&](const v1::Register& request, const std::string& field) {
    EXPECT_THAT(coordinator_->enter(request, 99, now_),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)));
  };
  refused(fixture::registration("", 1), "node");
  refused(fixture::registration("UPPER", 1), "node");
  refused(fixture::registration("n1", 0), "slots");
  refused(fixture::registration("n1", 1025), "slots");
  refused(fixture::registration("n1", 1, ""), "incarnation");
}

TEST_F(CoordinatorNodesTest, UpdateFromANodeThatDoesNotRunTheRankIsIgnored) {
  node("n1", 1);
  node("n2", 1);
  submit("a", 1);
  run("a");
  coordinator_->update("n2", fixture::failure_of(task("a", 0), "BAD_DATA"), now_);
  EXPECT_FALSE(job("a").ranks(0).has_failure());
}

TEST_F(CoordinatorNodesTest, UpdateOfAnOlderGenerationIsIgnored) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  TaskId stale = task("a", 0);
  stale.generation = 0;
  coordinator_->update("n1", fixture::exit_of(stale, 1), now_);
  stale.rank = 7;
  coordinator_->update("n1", fixture::exit_of(stale, 1), now_);
  EXPECT_EQ(job("a").state(), v1::RUNNING);
}

// ---- Cancel and delete -------------------------------------------------------------------------

TEST_F(CoordinatorNodesTest, QueuedJobIsCancelledAtOnce) {
  submit("a", 1);
  ASSERT_OK(coordinator_->cancel("a", now_));
  EXPECT_EQ(job("a").state(), v1::CANCELLED);
  ASSERT_OK(coordinator_->cancel("a", now_));
}

TEST_F(CoordinatorNodesTest, StartingJobIsCancelledOnceItsTasksHaveEnded) {
  node("n1", 2);
  submit("a", 2);
  tick();
  coordinator_->take();
  ASSERT_OK(coordinator_->cancel("a", now_));
  EXPECT_EQ(job("a").state(), v1::CANCELLING);
  EXPECT_EQ(commands(v1::SessionResponse::kStopTask), 2);
  end_all("a");
  EXPECT_EQ(job("a").state(), v1::CANCELLED);
  EXPECT_EQ(slots_held("n1"), 0);
}

TEST_F(CoordinatorNodesTest, RunningJobIsCancelledAndKeepsNoFailure) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  ASSERT_OK(coordinator_->cancel("a", now_));
  report(fixture::exit_of(task("a", 0), 0, 15));
  EXPECT_EQ(job("a").state(), v1::CANCELLED);
  EXPECT_EQ(job("a").reason(), kCancelled);
}

TEST_F(CoordinatorNodesTest, CancelWithAnUnreachableNodeEndsAfterTheGraceAndTheNodeIsToldLater) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  lose("n1");
  sessions_.erase("n1");
  ASSERT_OK(coordinator_->cancel("a", now_));
  pass(timeouts("a").stop_grace + limits_.cancel_slack + absl::Seconds(1));
  EXPECT_EQ(job("a").state(), v1::CANCELLED);
  EXPECT_THAT(job("a").message(), HasSubstr("rank 0 on n1 is not confirmed"));
  coordinator_->take();
  v1::Register back = fixture::registration("n1", 1);
  *back.add_tasks()->mutable_key() = task_key(task("a", 0));
  ASSERT_OK(coordinator_->enter(back, ++session_, now_));
  EXPECT_EQ(commands(v1::SessionResponse::kStopTask), 1);
  EXPECT_EQ(slots_held("n1"), 1);
  report(fixture::exit_of(task("a", 0), 0, 15));
  EXPECT_EQ(slots_held("n1"), 0);
}

// It was told only while its node was away, so it kept its slot for ever.
TEST_F(CoordinatorNodesTest, FinishedTrainerOfANodeThatWasAwayIsStoppedWhenItReturns) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  report(fixture::finished_of(task("a", 0)));
  lose("n1");
  sessions_.erase("n1");
  pass(timeouts("a").stop_grace + absl::Seconds(1));
  coordinator_->take();
  v1::Register back = fixture::registration("n1", 1);
  *back.add_tasks()->mutable_key() = task_key(task("a", 0));
  ASSERT_OK(coordinator_->enter(back, ++session_, now_));
  EXPECT_EQ(commands(v1::SessionResponse::kStopTask), 1);
}

TEST_F(CoordinatorNodesTest, FinishedJobCannotBeCancelled) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  report(fixture::finished_of(task("a", 0)));
  const absl::Status status = coordinator_->cancel("a", now_);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("SUCCEEDED")));
  EXPECT_EQ(wire::error_info(status).reason, kJobFinished);
}

TEST_F(CoordinatorNodesTest, OnlyFinalJobsCanBeDeleted) {
  submit("a", 1);
  EXPECT_THAT(coordinator_->check_deletable("a"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("cancel it")));
  ASSERT_OK(coordinator_->cancel("a", now_));
  ASSERT_OK(coordinator_->check_deletable("a"));
}

TEST_F(CoordinatorNodesTest, CancelThatCouldNotBeStoredIsUndone) {
  submit("a", 1);
  submit("b", 1);
  coordinator_->take();
  JobRecord before = *coordinator_->find("a");
  ASSERT_OK(coordinator_->cancel("a", now_));
  coordinator_->restore(std::move(before));
  EXPECT_EQ(job("a").state(), v1::QUEUED);
  EXPECT_TRUE(coordinator_->take().jobs.empty());
  node("n1", 2);
  tick();
  EXPECT_EQ(job("a").state(), v1::STARTING);
}

// ---- Nodes that do not come back ---------------------------------------------------------------

TEST_F(CoordinatorNodesTest, NodeWithoutTasksIsForgottenAfterADay) {
  limits_.nodes_max = 1;
  coordinator_ = make_owned();
  node("n1", 1);
  lose("n1");
  now_ += absl::Hours(24);
  tick();
  EXPECT_EQ(coordinator_->membership().nodes().count("n1"), 1u);
  EXPECT_THAT(coordinator_->enter(fixture::registration("n2", 1), 99, now_),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("1 nodes")));
  now_ += absl::Seconds(1);
  tick();
  EXPECT_EQ(coordinator_->membership().nodes().count("n1"), 0u);
  ASSERT_OK(coordinator_->enter(fixture::registration("n2", 1), 100, now_));
}

TEST_F(CoordinatorNodesTest, LiveNodeIsNeverForgotten) {
  node("n1", 1);
  pass(absl::Hours(25));
  EXPECT_TRUE(coordinator_->membership().live("n1"));
}

TEST_F(CoordinatorNodesTest, NodeOfAnOpenJobIsKeptUntilTheJobHasEnded) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  lose("n1");
  now_ += absl::Hours(48);
  tick();
  EXPECT_EQ(slots_held("n1"), 1);
  EXPECT_EQ(job("a").state(), v1::RUNNING);
  ASSERT_OK(coordinator_->cancel("a", now_));
  now_ += absl::Minutes(1);
  tick();
  EXPECT_EQ(job("a").state(), v1::CANCELLED);
  tick();
  EXPECT_EQ(coordinator_->membership().nodes().count("n1"), 0u);
}

TEST_F(CoordinatorNodesTest, TaskOfADeletedJobDoesNotKeepItsNode) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  lose("n1");
  report(fixture::finished_of(task("a", 0)));
  ASSERT_OK(coordinator_->check_deletable("a"));
  coordinator_->forget("a");
  EXPECT_EQ(slots_held("n1"), 1);
  now_ += absl::Hours(25);
  tick();
  EXPECT_EQ(coordinator_->membership().nodes().count("n1"), 0u);
}

class ForgottenNodeTest : public CoordinatorTest {
 protected:
  // Job "a" was cancelled while its task ran on n1, of which nothing was heard for days.
  void SetUp() override {
    node("n1", 1);
    submit("a", 1);
    run("a");
    lose("n1");
    ASSERT_OK(coordinator_->cancel("a", now_));
    now_ += absl::Hours(48);
    tick();
    tick();
    ASSERT_EQ(coordinator_->membership().nodes().count("n1"), 0u);
    coordinator_->take();
  }
};

TEST_F(ForgottenNodeTest, ItsTaskHoldsItsSlotAgainAndIsStoppedWhenItReturns) {
  submit("b", 1);
  v1::Register back = fixture::registration("n1", 1);
  *back.add_tasks()->mutable_key() = task_key(task("a", 0));
  ASSERT_OK(coordinator_->enter(back, ++session_, now_));
  EXPECT_EQ(slots_held("n1"), 1);
  EXPECT_EQ(commands(v1::SessionResponse::kStopTask), 1);
  tick();
  EXPECT_EQ(job("b").state(), v1::QUEUED);
  report(fixture::exit_of(task("a", 0), 0));
  tick();
  EXPECT_EQ(job("b").state(), v1::STARTING);
}

TEST_F(ForgottenNodeTest, ItsTaskIsGoneWhenItReturnsWithout) {
  EXPECT_TRUE(coordinator_->holds_slots("a"));
  node("n1", 1, "second");
  EXPECT_FALSE(coordinator_->holds_slots("a"));
  EXPECT_EQ(job("a").state(), v1::CANCELLED);
}

// ---- Restart of the server ---------------------------------------------------------------------

TEST_F(CoordinatorNodesTest, LoadedRunningJobGoesOnWhenItsWorkerReturns) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  Coordinator next = make();
  next.load(*coordinator_->find("a"), now_);
  now_ += absl::Hours(1);
  next.tick(now_);
  EXPECT_EQ(next.find("a")->job.state(), v1::RUNNING);
  v1::Register back = fixture::registration("n1", 1);
  *back.add_tasks()->mutable_key() = task_key(task("a", 0));
  *back.mutable_tasks(0)->mutable_hello() = fixture::hello_of(task("a", 0)).report().hello();
  back.mutable_tasks(0)->set_launched(true);
  ASSERT_OK(next.enter(back, ++session_, now_));
  next.update("n1", fixture::finished_of(task("a", 0)), now_);
  EXPECT_EQ(next.find("a")->job.state(), v1::SUCCEEDED);
}

TEST_F(CoordinatorNodesTest, LoadedStartingJobGetsItsWholeStartDeadlineAgain) {
  node("n1", 1);
  submit("a", 1);
  tick();
  report(fixture::pid_of(task("a", 0)));
  Coordinator next = make();
  now_ += absl::Hours(1);
  next.load(*coordinator_->find("a"), now_);
  next.tick(now_);
  EXPECT_EQ(next.find("a")->job.state(), v1::STARTING);
  now_ += timeouts("a").start_deadline + absl::Seconds(1);
  next.tick(now_);
  EXPECT_EQ(next.find("a")->job.reason(), kStartDeadline);
}

// Job "a" is back in the queue of a new server, while the task of its expired reservation may run.
class LoadedExpiredReservationTest : public CoordinatorTest {
 protected:
  void SetUp() override {
    node("n1", 1);
    submit("a", 1);
    tick();
    old_ = task("a", 0);
    pass(timeouts("a").reservation_ttl + absl::Seconds(1));
    ASSERT_EQ(job("a").state(), v1::QUEUED);
    next_.load(*coordinator_->find("a"), now_);
    next_.tick(now_);
    ASSERT_EQ(next_.find("a")->job.state(), v1::QUEUED);
  }

  TaskId old_;
  Coordinator next_ = make();
};

TEST_F(LoadedExpiredReservationTest, TaskThatRunsHoldsItsSlotBeforeAnythingIsGiven) {
  v1::Register back = fixture::registration("n1", 1);
  *back.add_tasks()->mutable_key() = task_key(old_);
  ASSERT_OK(next_.enter(back, 1, now_));
  next_.tick(now_);
  EXPECT_EQ(next_.find("a")->job.state(), v1::QUEUED);
  EXPECT_EQ(next_.find("a")->job.reason(), kSlotsBusy);
  next_.update("n1", fixture::exit_of(old_, 0, 15), now_);
  next_.tick(now_);
  EXPECT_EQ(next_.find("a")->job.state(), v1::STARTING);
  EXPECT_EQ(next_.find("a")->job.generation(), old_.generation + 1);
}

TEST_F(LoadedExpiredReservationTest, TaskThatNeverStartedHoldsNone) {
  ASSERT_OK(next_.enter(fixture::registration("n1", 1), 1, now_));
  next_.tick(now_);
  EXPECT_EQ(next_.find("a")->job.state(), v1::STARTING);
}

TEST_F(CoordinatorNodesTest, LoadedQueueKeepsItsOrder) {
  submit("z", 1);
  now_ += absl::Seconds(1);
  submit("a", 1);
  Coordinator next = make();
  next.load(*coordinator_->find("a"), now_);
  next.load(*coordinator_->find("z"), now_);
  ASSERT_OK(next.enter(fixture::registration("n1", 1), 1, now_));
  next.tick(now_);
  EXPECT_EQ(next.find("z")->job.state(), v1::STARTING);
  EXPECT_EQ(next.find("a")->job.state(), v1::QUEUED);
}

}  // namespace
}  // namespace laconic::server
