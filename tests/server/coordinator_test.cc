#include "server/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/wire/job_spec.h"
#include "common/wire/status.h"
#include "server/reasons.h"
#include "tests/server/job_fixture.h"
#include "tests/testing/status_matchers.h"

namespace laconic::server {
namespace {

namespace fixture = ::laconic::server::testing;
using ::laconic::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

// One coordinator whose time the tests move.
class CoordinatorTest : public ::testing::Test {
 protected:
  Coordinator make() {
    return Coordinator(limits_, [this] { return absl::StrCat("token", ++tokens_); });
  }
  std::unique_ptr<Coordinator> make_owned() {
    return std::make_unique<Coordinator>(limits_,
                                         [this] { return absl::StrCat("token", ++tokens_); });
  }
  void submit(const std::string& id, int workers) {
    ASSERT_OK(coordinator_->submit(fixture::job_of(workers, "name-" + id), id, now_));
  }
  void submit(const std::string& id, v1::TrainJob job) {
    ASSERT_OK(coordinator_->submit(job, id, now_));
  }
  void node(const std::string& name, int slots, const std::string& incarnation = "first") {
    ASSERT_OK(
        coordinator_->enter(fixture::registration(name, slots, incarnation), ++session_, now_));
    sessions_[name] = session_;
  }
  void lose(const std::string& name) { coordinator_->leave(name, sessions_[name], now_); }
  // Moves time in steps below the session silence, with heartbeats of all live nodes.
  void pass(absl::Duration duration) {
    const absl::Time end = now_ + duration;
    while (now_ < end) {
      now_ = std::min(end, now_ + absl::Seconds(1));
      for (const auto& [name, session] : sessions_) {
        coordinator_->heard(name, session, now_);
      }
      coordinator_->tick(now_);
    }
  }
  void tick() { coordinator_->tick(now_); }
  const v1::Job& job(const std::string& id) const { return coordinator_->find(id)->job; }
  TaskId task(const std::string& id, int rank) const { return {id, job(id).generation(), rank}; }
  void report(const v1::TaskUpdate& update) {
    const std::string& id = update.key().job_id();
    coordinator_->update(job(id).ranks(update.key().rank()).node(), update, now_);
  }
  // Brings a submitted job to RUNNING.
  void run(const std::string& id) {
    tick();
    for (int rank = 0; rank < job(id).ranks_size(); ++rank) {
      report(fixture::pid_of(task(id, rank)));
      report(fixture::hello_of(task(id, rank)));
    }
    ASSERT_EQ(job(id).state(), v1::RUNNING);
  }
  void end_all(const std::string& id, int code = 0) {
    for (int rank = 0; rank < job(id).ranks_size(); ++rank) {
      report(fixture::exit_of(task(id, rank), code));
    }
  }
  int commands(v1::SessionResponse::MessageCase kind) {
    int count = 0;
    for (const Command& command : coordinator_->take().commands) {
      count += command.message.message_case() == kind ? 1 : 0;
    }
    return count;
  }
  bool has_event(const std::string& id, const std::string& reason) const {
    const auto& events = coordinator_->find(id)->events;
    return std::any_of(events.begin(), events.end(),
                       [&](const auto& event) { return event.reason() == reason; });
  }
  int slots_held(const std::string& name) {
    return static_cast<int>(coordinator_->membership().nodes().at(name).tasks.size());
  }
  wire::Timeouts timeouts(const std::string& id) const {
    return wire::derive_timeouts(job(id).job());
  }

  Limits limits_;
  int tokens_ = 0;
  uint64_t session_ = 0;
  std::map<std::string, uint64_t> sessions_;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  std::unique_ptr<Coordinator> coordinator_ = make_owned();
};

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

// ---- Nodes that go and come --------------------------------------------------------------------

TEST_F(CoordinatorTest, SilentNodeIsUnreachableAndItsJobGoesOn) {
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

TEST_F(CoordinatorTest, SnapshotBringsWhatWasMissedWhileAway) {
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

TEST_F(CoordinatorTest, LaunchThatWasMissedIsSentAgain) {
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

TEST_F(CoordinatorTest, RestartedWorkerWithoutItsTaskIsALostWorker) {
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

TEST_F(CoordinatorTest, StartThatNeverArrivedIsSentAgain) {
  node("n1", 1);
  submit("a", 1);
  tick();
  lose("n1");
  coordinator_->take();
  node("n1", 1, "second");
  EXPECT_EQ(commands(v1::SessionResponse::kStartTask), 1);
  EXPECT_EQ(job("a").state(), v1::STARTING);
}

TEST_F(CoordinatorTest, UnreachableNodeThatAPeerLostIsNamed) {
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

TEST_F(CoordinatorTest, UnknownTaskIsStoppedAndReleasedOnceItHasEnded) {
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

TEST_F(CoordinatorTest, NameOfALiveNodeCannotBeTaken) {
  node("n1", 1);
  EXPECT_THAT(coordinator_->enter(fixture::registration("n1", 1, "second"), 99, now_),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("--name")));
}

TEST_F(CoordinatorTest, RefusesBadRegistrations) {
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

TEST_F(CoordinatorTest, UpdateFromANodeThatDoesNotRunTheRankIsIgnored) {
  node("n1", 1);
  node("n2", 1);
  submit("a", 1);
  run("a");
  coordinator_->update("n2", fixture::failure_of(task("a", 0), "BAD_DATA"), now_);
  EXPECT_FALSE(job("a").ranks(0).has_failure());
}

TEST_F(CoordinatorTest, UpdateOfAnOlderGenerationIsIgnored) {
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

TEST_F(CoordinatorTest, QueuedJobIsCancelledAtOnce) {
  submit("a", 1);
  ASSERT_OK(coordinator_->cancel("a", now_));
  EXPECT_EQ(job("a").state(), v1::CANCELLED);
  ASSERT_OK(coordinator_->cancel("a", now_));
}

TEST_F(CoordinatorTest, StartingJobIsCancelledOnceItsTasksHaveEnded) {
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

TEST_F(CoordinatorTest, RunningJobIsCancelledAndKeepsNoFailure) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  ASSERT_OK(coordinator_->cancel("a", now_));
  report(fixture::exit_of(task("a", 0), 0, 15));
  EXPECT_EQ(job("a").state(), v1::CANCELLED);
  EXPECT_EQ(job("a").reason(), kCancelled);
}

TEST_F(CoordinatorTest, CancelWithAnUnreachableNodeEndsAfterTheGraceAndTheNodeIsToldLater) {
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

TEST_F(CoordinatorTest, FinishedJobCannotBeCancelled) {
  node("n1", 1);
  submit("a", 1);
  run("a");
  report(fixture::finished_of(task("a", 0)));
  const absl::Status status = coordinator_->cancel("a", now_);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("SUCCEEDED")));
  EXPECT_EQ(wire::error_info(status).reason, kJobFinished);
}

TEST_F(CoordinatorTest, OnlyFinalJobsCanBeDeleted) {
  submit("a", 1);
  EXPECT_THAT(coordinator_->check_deletable("a"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("cancel it")));
  ASSERT_OK(coordinator_->cancel("a", now_));
  ASSERT_OK(coordinator_->check_deletable("a"));
}

TEST_F(CoordinatorTest, CancelThatCouldNotBeStoredIsUndone) {
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

// ---- Restart of the server ---------------------------------------------------------------------

TEST_F(CoordinatorTest, LoadedRunningJobGoesOnWhenItsWorkerReturns) {
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

TEST_F(CoordinatorTest, LoadedStartingJobGetsItsWholeStartDeadlineAgain) {
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

TEST_F(CoordinatorTest, LoadedQueueKeepsItsOrder) {
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
